"""Settings of the three techniques and of sampling: the config groups `method` and `sampling`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from src.common.errors import UserError
from src.common.typed import Raw, check_choice, check_range, setting
from src.models.ddim_steps import NUM_TRAIN_TIMESTEPS, check_num_steps
from src.pose.keypoints import DETAILS
from src.sampling.parts import EDITED_PARTS

Interpolation = Literal["bilinear", "nearest"]


@dataclass(frozen=True, kw_only=True)
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

    parts: list[str] = field(default_factory=lambda: list(DETAILS))
    timestep: int = NUM_TRAIN_TIMESTEPS
    interpolation: Interpolation = "bilinear"
    preserve_variance: bool = False

    def __post_init__(self) -> None:
        for part in self.parts:
            check_choice("method.latent_editing.parts", part, tuple(EDITED_PARTS))
        if len(set(self.parts)) < len(self.parts):
            raise UserError(f"method.latent_editing.parts={self.parts} names a part twice")
        if not 0 < self.timestep <= NUM_TRAIN_TIMESTEPS:
            raise UserError(f"method.latent_editing.timestep={self.timestep} is not in 1 to {NUM_TRAIN_TIMESTEPS} (T)")


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """The techniques of Sec. 4; all off and `init=inversion` is ControlVideo.

    Attributes:
        kind: tells this family from other methods.
        name: what results are listed under.
        reference_selection: reference frame by Eq. 5; off: the first training frame.
        reference_insertion: sample the reference pose as an additional frame 0, the key frame; off: target poses only.
        init: `inversion`: DDIM inversion of the reference frame; `noise`: one noise latent for all frames.
        latent_editing: Eqs. 6 and 7.
        references: `one` reference frame for all target poses; `per_segment`: the target poses are cut into segments,
            each generated from a reference frame of its own (`reference.cut_segments`).
        min_segment_frames: least length of such a segment.
    """

    kind: Literal["posecrafter"] = setting("posecrafter", counts="nothing")
    name: str = "posecrafter"
    reference_selection: bool = True
    reference_insertion: bool = True
    init: Literal["inversion", "noise"] = "inversion"
    latent_editing: LatentEditingSettings = field(default_factory=LatentEditingSettings)
    references: Literal["one", "per_segment"] = "one"
    min_segment_frames: int = 8

    def __post_init__(self) -> None:
        if self.references != "one" and not self.reference_selection:
            raise UserError(
                f"method.references={self.references} selects by Eq. 5: set method.reference_selection=true"
            )
        check_range("method.min_segment_frames", self.min_segment_frames, least=1)
        if self.init == "noise" and self.latent_editing.parts and self.latent_editing.timestep < NUM_TRAIN_TIMESTEPS:
            raise UserError(
                f"method.latent_editing.timestep below {NUM_TRAIN_TIMESTEPS} warps latents of the inversion, which "
                "method.init=noise does not make: set method.init=inversion or "
                f"method.latent_editing.timestep={NUM_TRAIN_TIMESTEPS}"
            )


@dataclass(frozen=True, kw_only=True)
class ApproximationSettings:
    """Work that later timesteps take over from earlier ones; the defaults take over nothing and change no result.

    Attributes:
        features_every: the UNet's deep features and the ControlNet's output are computed at every k-th step, and where
            two prompts would take them over from different steps.
        guidance_every: the difference that guidance adds is computed at every k-th step, with one prompt in between.
        guided_timesteps: [first, last] timesteps at which there is guidance.
    """

    features_every: int = 1
    guidance_every: int = 1
    guided_timesteps: tuple[int, int] = (0, NUM_TRAIN_TIMESTEPS)

    def __post_init__(self) -> None:
        check_range("sampling.approximation.features_every", self.features_every, least=1)
        check_range("sampling.approximation.guidance_every", self.guidance_every, least=1)
        for timestep in self.guided_timesteps:
            check_range("sampling.approximation.guided_timesteps", timestep, least=0, most=NUM_TRAIN_TIMESTEPS)
        if self.guided_timesteps[0] > self.guided_timesteps[1]:
            raise UserError(
                f"sampling.approximation.guided_timesteps={list(self.guided_timesteps)} is empty: give [first, last]"
            )

    @property
    def off(self) -> bool:
        """Whether nothing is approximated."""
        return self == ApproximationSettings()


EXACT = ApproximationSettings()


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """DDIM sampling (Sec. 4.2), eta 0.

    Attributes:
        num_steps: steps of inversion and of sampling.
        inversion_iterations: predictions of the noise in a step of the inversion; 1: the paper's. More bring each step
            nearer to the one that sampling undoes, which matters most where steps are few (`ddim_invert`).
        guidance_scale: classifier-free guidance; 1: none.
        negative_prompt: text of the unconditional branch.
        frame_chunk: frames that pass through a layer at once; `auto`: by free memory; null: all. Memory, not results.
        conditioning_scale: factor on the ControlNet's residuals; null: none of its own, the model's counts.
        controlnet_scales: factors on the residuals of `model.controlnets`, one for each; 0: it rests, and needs no
            condition; null: their own.
        window_frames: target frames that are sampled together at most; null: all of a segment. Of thousands it keeps
            memory constant, and a video that was stopped goes on from its last window. Each window is a clip of its
            own, from the reference frame and the start that all windows of its segment share: what the video is
            depends on it, and a seam may show where two meet.
        approximation: work that is left out; the default leaves out nothing. `sampling=fast` and `sampling=draft` do.
    """

    num_steps: int = 50
    inversion_iterations: int = 1
    guidance_scale: float = 12.0
    negative_prompt: Raw = ""
    frame_chunk: int | Literal["auto"] | None = setting("auto", counts="nothing")
    conditioning_scale: float | None = None
    controlnet_scales: list[float] | None = None
    window_frames: int | None = None
    approximation: ApproximationSettings = EXACT

    def __post_init__(self) -> None:
        check_num_steps(self.num_steps)
        check_range("sampling.inversion_iterations", self.inversion_iterations, least=1)
        # 1 is no guidance.
        check_range("sampling.guidance_scale", self.guidance_scale, least=1)
        check_range("sampling.conditioning_scale", self.conditioning_scale, least=0)
        for scale in self.controlnet_scales or ():
            check_range("sampling.controlnet_scales", scale, least=0)
        check_range("sampling.window_frames", self.window_frames, least=1)
        if self.frame_chunk != "auto":
            check_range("sampling.frame_chunk", self.frame_chunk, least=1)

    def scales_beside(self, own: Sequence[float]) -> Sequence[float]:
        """Factors on the residuals of the ControlNets beside the pose one, whose own ones are given."""
        return self.controlnet_scales or own
