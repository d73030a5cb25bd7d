"""Settings of MagicAnimate (Xu et al. 2023): what its public code does, each habit that changes numbers by a name.

Section numbers are those of `shared/baselines/magicanimate.md`, the specification that this package was written from.
"""

from dataclasses import dataclass
from typing import Literal

from src.common.errors import UserError
from src.common.typed import Raw, check_range, setting
from src.models.ddim_steps import check_num_steps

MAX_POSITIONS = 24
"""Length of the motion modules' position tables."""
NormSpan = Literal["window", "frame"]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How the three networks are joined (sections 1 and 5); the defaults are the public code's but for `bank_dtype`,
    which makes no difference in the half precision that it runs in.

    Attributes:
        residual_norm: what the group norms of residual blocks and the UNet's last norm take statistics over: all
            frames of the `window`, or each `frame` (1.1).
        motion_norm: the same for the group norm at the entrance of each motion module (1.2).
        reference_read_by: which half of classifier-free guidance attends to the reference: the conditional one
            (`cond`), or `both` (1.4).
        bank_dtype: the precision in which the reference's tokens are kept: the `model`'s own, or `float16`, as the
            public code keeps them whatever the rest runs in (5).
        conditioning_scale: factor on the ControlNet's residuals.
    """

    residual_norm: NormSpan = "window"
    motion_norm: NormSpan = "frame"
    reference_read_by: Literal["cond", "both"] = "cond"
    bank_dtype: Literal["model", "float16"] = "model"
    conditioning_scale: float = 1.0

    def __post_init__(self) -> None:
        check_range("method.network.conditioning_scale", self.conditioning_scale, least=0)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """DDIM sampling in windows (section 4) and what surrounds it (section 3); the defaults are the public code's.

    Attributes:
        num_steps: DDIM steps, eta 0.
        guidance_scale: classifier-free guidance, above 1: the public code cannot do without.
        prompt, negative_prompt: texts of the two halves. Both are empty: guidance acts on the reference alone.
        beta_schedule: of the noise levels 0.00085 to 0.012; `linear`, where Stable Diffusion has `scaled_linear`.
        steps_offset: added to every timestep; 1 gives 961, 921, ..., 1 for 25 steps.
        last_alpha: what the last step leads to, `one` (no noise) or `first` (the noise level of timestep 0).
        window_frames: frames that the UNet sees at once; no more than its position table has (24).
        window_overlap: frames that neighbouring windows share.
        window_ends: `wrap`: the last window goes on with the first frames, so that every window is full;
            `shift`: it moves back to end with the last frame.
        frame_noise: `repeat`: one draw of `window_frames` frames, over and over; `independent`: a draw for each.
        padding: `last_frame`: copies of the last condition fill the video up to whole windows and are cut off the
            result; `none`: the frames as they are.
        resolution: side of the generated frames in pixels; reference and conditions are stretched to it.
        quantise: `truncate` 255 x to uint8, or `round` it.
        output_fps: rate of the video whatever the input's; None: the input's.
        frame_chunk: frames that pass through the widest layers, and the ControlNet, at once; None: all. Memory, not
            results.
    """

    num_steps: int = 25
    guidance_scale: float = 7.5
    prompt: Raw = ""
    negative_prompt: Raw = ""
    beta_schedule: Literal["linear", "scaled_linear"] = "linear"
    steps_offset: Literal[0, 1] = 1
    last_alpha: Literal["one", "first"] = "one"
    window_frames: int = 16
    window_overlap: int = 4
    window_ends: Literal["wrap", "shift"] = "wrap"
    frame_noise: Literal["repeat", "independent"] = "repeat"
    padding: Literal["last_frame", "none"] = "last_frame"
    resolution: int = 512
    quantise: Literal["truncate", "round"] = "truncate"
    output_fps: float | None = 25.0
    frame_chunk: int | None = setting(16, counts="nothing")

    def __post_init__(self) -> None:
        check_num_steps(self.num_steps, option="method.num_steps")
        check_range("method.guidance_scale", self.guidance_scale, above=1)
        check_range("method.window_frames", self.window_frames, least=1)
        check_range("method.window_overlap", self.window_overlap, least=0)
        check_range("method.resolution", self.resolution, least=1)
        check_range("method.output_fps", self.output_fps, above=0)
        check_range("method.frame_chunk", self.frame_chunk, least=1)
        if self.window_overlap >= self.window_frames:
            raise UserError(
                f"method.window_overlap={self.window_overlap} must be below method.window_frames={self.window_frames}"
            )
