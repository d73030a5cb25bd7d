"""Settings of the three techniques and of sampling: the config groups `method` and `sampling`."""

from dataclasses import dataclass, field

from src.common.errors import UserError
from src.common.typed import check_choice
from src.sampling.latent_editing import INTERPOLATIONS
from src.sampling.parts import EDITED_PARTS
from src.sampling.reference import REFERENCES

NUM_TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True)
class LatentEditingSettings:
    """Latent editing (Sec. 4.3).

    Attributes:
        parts: edited parts, of `torso`, `legs`, `arms`, `face`, `left_hand`, `right_hand`; empty: off. Face and hands
            lie over the others, of these the later over the earlier.
        timestep: the edit is made where sampling first reaches this timestep; 1000 is T, the initial latent. Below T
            the latent of the inversion at that timestep is what is warped.
        interpolation: how the latent is warped, `bilinear` or `nearest`.
        preserve_variance: undo the loss of variance that bilinear warping of noise brings.
    """

    parts: list[str] = field(default_factory=lambda: ["face", "left_hand", "right_hand"])
    timestep: int = NUM_TRAIN_TIMESTEPS
    interpolation: str = "bilinear"
    preserve_variance: bool = False

    def __post_init__(self) -> None:
        for part in self.parts:
            check_choice("method.latent_editing.parts", part, tuple(EDITED_PARTS))
        if len(set(self.parts)) < len(self.parts):
            raise UserError(f"method.latent_editing.parts={self.parts} names a part twice")
        check_choice("method.latent_editing.interpolation", self.interpolation, INTERPOLATIONS)
        if not 0 < self.timestep <= NUM_TRAIN_TIMESTEPS:
            raise UserError(f"method.latent_editing.timestep={self.timestep} is not in 1 to {NUM_TRAIN_TIMESTEPS} (T)")


@dataclass(frozen=True)
class MethodSettings:
    """The techniques of Sec. 4; all off and `init=inversion` is ControlVideo.

    Attributes:
        name: what results are listed under.
        reference_selection: reference frame by Eq. 5; off: the first training frame.
        reference_insertion: sample the reference pose as an additional frame 0, the key frame; off: target poses only.
        init: `inversion`: DDIM inversion of the reference frame; `noise`: one noise latent for all frames.
        latent_editing: Eqs. 6 and 7.
        reference: `single`: one reference frame for all target poses; `nearest_per_segment`: the target poses are cut
            into segments, each filmed from a reference frame of its own (`reference.cut_segments`).
        min_segment_frames: least length of such a segment.
    """

    name: str = "posecrafter"
    reference_selection: bool = True
    reference_insertion: bool = True
    init: str = "inversion"
    latent_editing: LatentEditingSettings = field(default_factory=LatentEditingSettings)
    reference: str = "single"
    min_segment_frames: int = 8

    def __post_init__(self) -> None:
        if self.name == "external":
            raise UserError(
                "method=external stands for another system's videos, which are not trained here: "
                "python -m eval.run benchmark=people method=external system=disco|disco_ft|magicanimate|gen2"
            )
        check_choice("method.init", self.init, ("inversion", "noise"))
        check_choice("method.reference", self.reference, REFERENCES)
        if self.reference != "single" and not self.reference_selection:
            raise UserError(f"reference={self.reference} selects by Eq. 5: set method.reference_selection=true")
        if self.min_segment_frames < 1:
            raise UserError(f"method.min_segment_frames={self.min_segment_frames} must be at least 1")
        if self.init == "noise" and self.latent_editing.parts and self.latent_editing.timestep < NUM_TRAIN_TIMESTEPS:
            raise UserError(
                "method.latent_editing.timestep below 1000 warps latents of the inversion, which method.init=noise "
                "does not make: set method.init=inversion or method.latent_editing.timestep=1000"
            )


@dataclass(frozen=True)
class SamplingSettings:
    """DDIM sampling (Sec. 4.2), eta 0.

    Attributes:
        num_steps: steps of inversion and of sampling.
        guidance_scale: classifier-free guidance; 1: none.
        negative_prompt: text of the unconditional branch.
        frame_chunk: frames that pass through a layer at once; null: all. Memory, not results.
    """

    num_steps: int = 50
    guidance_scale: float = 12.0
    negative_prompt: str = ""
    frame_chunk: int | None = 8

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= NUM_TRAIN_TIMESTEPS:
            raise UserError(f"sampling.num_steps={self.num_steps} is not in 1 to {NUM_TRAIN_TIMESTEPS}")
        if self.guidance_scale < 1:
            raise UserError(f"sampling.guidance_scale={self.guidance_scale} is below 1, which means no guidance")
        if self.frame_chunk is not None and self.frame_chunk < 1:
            raise UserError(
                f"sampling.frame_chunk={self.frame_chunk} must be at least 1, or null for all frames at once"
            )
