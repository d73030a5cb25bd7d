"""MagicAnimate's sampling (section 4): one picture and a DensePose video in, a video out.

Dimensions: B clips, F frames, C channels, H×W pixels, h×w latent cells, T text tokens, E text channels.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor

from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.settings import SamplingSettings
from src.baselines.magicanimate.windows import frame_windows, mean_of_windows
from src.common.errors import UserError
from src.common.progress import track
from src.models.ddim_steps import NUM_TRAIN_TIMESTEPS
from src.models.image_model import Vae, finite, full_precision, mode_of, vae_downsampling
from src.sampling.ddim import Progress, untracked

log = logging.getLogger(__name__)
BETA_START, BETA_END = 0.00085, 0.012


@dataclass(frozen=True, eq=False)
class AnimationJob:
    """What to generate.

    Attributes:
        reference: (H, W, 3) uint8 RGB, the picture of the person; the first frame of a clip in benchmarks.
        conditions: (F, H, W, 3) uint8 RGB, a DensePose rendering for each frame to be made.
        fps: of the conditions.
        seed: of the noise.
    """

    reference: np.ndarray
    conditions: np.ndarray
    fps: float
    seed: int = 1

    def __post_init__(self) -> None:
        for name, images, axes in (("reference", self.reference, 3), ("conditions", self.conditions, 4)):
            if images.dtype != np.uint8 or images.ndim != axes or images.shape[-1] != 3 or not len(images):
                raise ValueError(f"{name} must be uint8 RGB with {axes} axes, got {images.shape} {images.dtype}")


@dataclass(frozen=True, eq=False)
class AnimationResult:
    """What was generated.

    Attributes:
        frames: (F, S, S, 3) uint8 RGB.
        fps: to play them at.
        windows: the frames that the UNet saw at once, padding included.
        num_padded: frames sampled beyond F and cut off.
    """

    frames: np.ndarray
    fps: float
    windows: list[list[int]]
    num_padded: int


@dataclass(frozen=True)
class LatentJob:
    """What the sampling itself takes.

    Attributes:
        latents: (B, C, F, h, w) initial noise.
        reference_latents: (B, C, h, w) clean latents of the reference.
        conditions: (B, F, 3, H, W) DensePose renderings in [0, 1].
        text_uncond, text_cond: (B, T, E).
    """

    latents: Tensor
    reference_latents: Tensor
    conditions: Tensor
    text_uncond: Tensor
    text_cond: Tensor


def make_scheduler(settings: SamplingSettings) -> DDIMScheduler:
    """DDIM with MagicAnimate's noise levels; leading spacing, noise prediction, no clipping."""
    return DDIMScheduler(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule=settings.beta_schedule,
        steps_offset=settings.steps_offset,
        set_alpha_to_one=settings.last_alpha == "one",
        clip_sample=False,
        timestep_spacing="leading",
        prediction_type="epsilon",
    )


def draw_noise(num_frames: int, shape: tuple[int, ...], settings: SamplingSettings, *, seed: int) -> Tensor:
    """Initial latents (1, C, F, h, w) in float32; with `repeat`, frames a window apart share theirs.

    Args:
        shape: (C, h, w).
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = min(num_frames, settings.window_frames) if settings.frame_noise == "repeat" else num_frames
    noise_FChw = torch.randn((drawn, *shape), generator=generator)
    repeats = -(-num_frames // drawn)
    return noise_FChw.repeat(repeats, 1, 1, 1)[:num_frames].transpose(0, 1)[None]


def planned_windows(num_frames: int, settings: SamplingSettings) -> list[list[int]]:
    """The windows of a video, the same at every step."""
    return frame_windows(
        num_frames, length=settings.window_frames, overlap=settings.window_overlap, ends=settings.window_ends
    )


def window_predictions(
    model: MagicAnimate, latents_BCFhw: Tensor, timestep: int, job: LatentJob, windows: list[list[int]]
) -> list[tuple[Tensor, Tensor]]:
    """Noise of each window, without and with the condition (steps 3 a to c); the bank and the ControlNet's residuals
    are computed once for all windows."""
    bank = model.write_bank(job.reference_latents, timestep, job.text_cond)
    residuals = model.control(latents_BCFhw, timestep, job.conditions, job.text_cond)
    return [
        model.predict_halves(
            latents_BCFhw[:, :, window],
            timestep,
            job.text_uncond,
            job.text_cond,
            bank=bank,
            residuals=residuals.of_frames(window),
        )
        for window in windows
    ]


def guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: u + s (c - u)."""
    return uncond + scale * (cond - uncond)


@torch.no_grad()
def sample_latents(
    model: MagicAnimate, job: LatentJob, settings: SamplingSettings, *, progress: Progress = untracked
) -> Tensor:
    """Clean latents (B, C, F, h, w) of all frames of the job.

    Raises:
        UserError: a window is longer than the motion modules' position table.
    """
    scheduler = make_scheduler(settings)
    scheduler.set_timesteps(settings.num_steps)
    num_frames = job.latents.shape[2]
    windows = planned_windows(num_frames, settings)
    if len(windows[0]) > model.max_positions:
        raise UserError(
            f"method.window_frames={settings.window_frames}: the motion modules have {model.max_positions} positions"
        )
    latents_BCFhw = job.latents
    with model.chunked(settings.frame_chunk):
        for timestep in progress(scheduler.timesteps.tolist(), "sampling"):
            halves = window_predictions(model, latents_BCFhw, timestep, job, windows)
            uncond, cond = (mean_of_windows(list(half), windows, num_frames) for half in zip(*halves, strict=True))
            noise_BCFhw = guide(uncond, cond, settings.guidance_scale)
            latents_BCFhw = scheduler.step(noise_BCFhw, timestep, latents_BCFhw, eta=0.0, return_dict=False)[0]
    return latents_BCFhw


@torch.no_grad()
def animate(
    model: MagicAnimate,
    vae: Vae,
    encode_prompt: Callable[[str], Tensor],
    job: AnimationJob,
    settings: SamplingSettings,
) -> AnimationResult:
    """Film the person of the reference in the poses of the conditions.

    Args:
        model: on its device.
        vae: brought to the model's device by the caller.
        encode_prompt: text to its embedding (1, T, E).

    Raises:
        UserError: the resolution does not suit the networks.
    """
    num_frames = len(job.conditions)
    num_padded = -num_frames % settings.window_frames if settings.padding == "last_frame" else 0
    conditions = np.concatenate([job.conditions, np.repeat(job.conditions[-1:], num_padded, axis=0)])
    check_resolution(model, vae, settings.resolution)
    reference = encode_reference(vae, stretch(job.reference, settings.resolution)).to(model.device, model.dtype)
    noise = draw_noise(len(conditions), tuple(reference.shape[1:]), settings, seed=job.seed)
    images = np.stack([stretch_condition(condition, settings.resolution) for condition in conditions])
    conditions_FCHW = torch.from_numpy(images).permute(0, 3, 1, 2).to(model.device, model.dtype) / 255
    latent_job = LatentJob(
        latents=noise.to(model.device, model.dtype),
        reference_latents=reference,
        conditions=conditions_FCHW[None],
        text_uncond=encode_prompt(settings.negative_prompt).to(model.device, model.dtype),
        text_cond=encode_prompt(settings.prompt).to(model.device, model.dtype),
    )
    latents_FChw = sample_latents(model, latent_job, settings, progress=track)[0].transpose(0, 1)[:num_frames]
    frames = np.stack([decode_frame(vae, latent, quantise=settings.quantise) for latent in latents_FChw])
    windows = planned_windows(len(conditions), settings)
    return AnimationResult(frames, settings.output_fps or job.fps, windows, num_padded)


def check_resolution(model: MagicAnimate, vae: Vae, resolution: int) -> None:
    """Raise a UserError where the networks cannot halve an image of that side evenly."""
    multiple = vae_downsampling(vae) * 2 ** (len(model.unet.config["block_out_channels"]) - 1)
    if resolution % multiple:
        raise UserError(f"method.resolution={resolution} does not suit this model: use a multiple of {multiple}")


def stretch(image: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8 to (side, side, 3), bicubic, the aspect ratio not kept (section 3)."""
    return np.asarray(Image.fromarray(image).resize((side, side)))


def stretch_condition(image: np.ndarray, side: int) -> np.ndarray:
    """The same for a condition, which is left alone where its *height* is right.

    Raises:
        UserError: its height is, and its width is not: the public code would fail on it.
    """
    if image.shape[0] != side:
        return stretch(image, side)
    if image.shape[1] != side:
        raise UserError(
            f"the condition is {image.shape[1]}x{image.shape[0]} pixels: MagicAnimate resizes only what is not {side} "
            f"high, and needs {side}x{side}; crop the condition as the frames were cropped"
        )
    return image


def encode_reference(vae: Vae, image: np.ndarray) -> Tensor:
    """Scaled latents (1, C, h, w) of the reference, the mean of the posterior."""
    pixels_13HW = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(vae.device, vae.dtype) / 127.5 - 1
    with full_precision(vae.device):
        return mode_of(vae.encode(pixels_13HW)) * vae.config["scaling_factor"]


def decode_frame(vae: Vae, latents_Chw: Tensor, *, quantise: str) -> np.ndarray:
    """One frame (H, W, 3) uint8 RGB of scaled latents.

    Raises:
        UserError: it is not finite.
    """
    latents = (latents_Chw[None] / vae.config["scaling_factor"]).to(vae.device, vae.dtype)
    with full_precision(vae.device):
        decoded_CHW = vae.decode(latents, return_dict=False)[0][0].float()
        pixels_CHW = (finite(decoded_CHW, guidance="method.guidance_scale") / 2 + 0.5).clamp(0, 1) * 255
    pixels_CHW = pixels_CHW.round() if quantise == "round" else pixels_CHW
    return pixels_CHW.byte().permute(1, 2, 0).cpu().numpy()
