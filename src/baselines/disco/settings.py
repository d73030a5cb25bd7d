"""Settings of DisCo (Wang et al. 2023): its sampling, its human-specific fine-tune, and its general one.

Section numbers are those of `shared/baselines/disco.md`, the specification that this package was written from.
"""

from dataclasses import dataclass
from typing import Literal

from src.common.typed import check_range, setting
from src.models.ddim_steps import check_num_steps

PUBLIC_SEED = 42
"""Of the public code."""
Unconditional = Literal["zeros", "clip_of_zeros"]
Trained = Literal["human_specific", "general"]
Checkpoint = Literal["general", "general_cfg", "human_specific"]
# Guidance scale and unconditional context of each public kind of checkpoint (section 3).
_OF_CHECKPOINT: dict[Checkpoint, tuple[float, Unconditional]] = {
    "general": (3.0, "zeros"),
    "general_cfg": (1.5, "clip_of_zeros"),
    "human_specific": (7.5, "zeros"),
}


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Sampling of frames, each alone (sections 2 and 3); the defaults are the public code's.

    Attributes:
        checkpoint: how the weights were trained, which decides guidance and unconditional context where these are
            not given: `general` (without dropping the reference), `general_cfg` (with it) or `human_specific`.
        num_steps: DDIM steps, eta 0.
        guidance_scale: classifier-free guidance; up to 1: none; None: the checkpoint's.
        unconditional: context of the unconditional half: `zeros`, or the `clip_of_zeros`, CLIP's tokens of an image
            that is zero in normalised space; None: the checkpoint's.
        resolution: side of the generated frames in pixels.
        frame_noise: `shared`: all frames start from one noise, what the public code does in batches of 1;
            `batch_of_64`: frame k starts from the draw k mod 64, what its published command does. Its noise depends
            on the batch size; ours never does.
        background_latents: a `sample` of the VAE's posterior, drawn once a clip, or its `mean`.
        batch_size: frames evaluated at once. Memory, not results.
    """

    checkpoint: Checkpoint = "general_cfg"
    num_steps: int = 50
    guidance_scale: float | None = None
    unconditional: Unconditional | None = None
    resolution: int = 256
    frame_noise: Literal["shared", "batch_of_64"] = "shared"
    background_latents: Literal["sample", "mean"] = "sample"
    batch_size: int = setting(8, counts="nothing")

    def __post_init__(self) -> None:
        check_num_steps(self.num_steps, option="method.num_steps")
        check_range("method.guidance_scale", self.guidance_scale, least=0)
        check_range("method.resolution", self.resolution, least=1)
        check_range("method.batch_size", self.batch_size, least=1)

    @property
    def scale(self) -> float:
        """The guidance scale in use."""
        return _OF_CHECKPOINT[self.checkpoint][0] if self.guidance_scale is None else self.guidance_scale

    @property
    def unconditional_context(self) -> Unconditional:
        """The unconditional context in use."""
        return self.unconditional or _OF_CHECKPOINT[self.checkpoint][1]


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings:
    """Fine-tuning (section 5); the defaults are those of the human-specific one, with the 500 steps that it intends.

    Attributes:
        trained: `human_specific`: the UNet's cross-attention, the background ControlNet and the projection;
            `general`: the whole UNet, both ControlNets and the projection.
        max_steps: optimiser steps. The public command's `--ft_iters 500` has no effect as it is given.
        batch_size: frames a step; none comes again before all others have come.
        learning_rate: after the warm-up.
        betas, weight_decay: of AdamW.
        warmup: share of the steps over which the rate rises linearly; then it falls linearly.
        floor: the rate falls no further.
        crop_scale: least share of the square's area that a random crop keeps, in (0, 1].
        reference: the frame that shows the person: a `random` one for each target frame, drawn once, or the `first`.
        mask_threshold: masks are 1 above it, in [0, 1).
        drop_reference: probability that a step's foregrounds are all zero, for guidance later.
        resolution: side of the frames in pixels.
    """

    trained: Trained = "human_specific"
    max_steps: int = 500
    batch_size: int = 32
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-3
    warmup: float = 0.1
    floor: float = 1e-8
    crop_scale: float = 0.5
    reference: Literal["random", "first"] = "random"
    mask_threshold: float = 0.001
    drop_reference: float = 0.0
    resolution: int = 256

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "resolution"):
            check_range(f"method.fine_tune.{name}", getattr(self, name), least=1)
        check_range("method.fine_tune.floor", self.floor, least=0)
        check_range("method.fine_tune.learning_rate", self.learning_rate, above=self.floor, most=1e3)
        check_range("method.fine_tune.weight_decay", self.weight_decay, least=0, most=1e3)
        for name in ("warmup", "drop_reference", "mask_threshold"):
            check_range(f"method.fine_tune.{name}", getattr(self, name), least=0, most=1)
        check_range("method.fine_tune.crop_scale", self.crop_scale, above=0, most=1)
        for beta in self.betas:
            check_range("method.fine_tune.betas", beta, least=0, most=0.999999)
