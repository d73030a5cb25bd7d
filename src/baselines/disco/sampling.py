"""DisCo's sampling (section 3): one picture with its mask and drawn poses in, frames out, each made alone.

Dimensions: M frames, B of them at once, C latent channels, H×W pixels, h×w latent cells, T tokens, E context channels.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from src.baselines.disco.model import DisCo
from src.baselines.disco.preprocessing import background_image, centre_square, foreground_image, unit_image
from src.baselines.disco.settings import PUBLIC_SEED, SamplingSettings
from src.baselines.weights import from_config
from src.common.arrays import height_width
from src.common.errors import UserError
from src.common.progress import track

log = logging.getLogger(__name__)
PUBLIC_BATCH = 64
# The background's sample is not to be the noise that the frames start from, of this or of another seed.
BEYOND_SEEDS = 2**31


@dataclass(frozen=True, eq=False)
class DisCoJob:
    """What to generate.

    Attributes:
        reference: (H, W, 3) uint8 RGB, the picture of the person; the first frame of a clip in benchmarks.
        mask: (H, W) float in [0, 1], 1 where the person of the reference is.
        poses: (M, H, W, 3) uint8 RGB, skeletons drawn as DisCo draws them: body alone, on black.
        seed: of the noise and of the background's sample; the public code always has 42.
    """

    reference: np.ndarray
    mask: np.ndarray
    poses: np.ndarray
    seed: int = PUBLIC_SEED

    def __post_init__(self) -> None:
        for name, images, axes in (("reference", self.reference, 3), ("poses", self.poses, 4)):
            if images.dtype != np.uint8 or images.ndim != axes or images.shape[-1] != 3 or not len(images):
                raise ValueError(f"{name} must be uint8 RGB with {axes} axes, got {images.shape} {images.dtype}")
        check_mask(self.mask, height_width(self.reference))


@dataclass(frozen=True)
class LatentJob:
    """What the sampling itself takes, for B frames.

    Attributes:
        latents, background: (B, C, h, w) initial noise; scaled latents of the background.
        pose: (B, 3, H, W) in [0, 1].
        context, context_uncond: (B, T, E).
    """

    latents: Tensor
    background: Tensor
    pose: Tensor
    context: Tensor
    context_uncond: Tensor


def check_mask(mask: np.ndarray, size: tuple[int, int], *, what: str = "the reference") -> None:
    """Raise a UserError unless the mask is (H, W) in [0, 1] and shows someone.

    Args:
        size: (H, W) of the picture that it belongs to.
        what: that picture, for messages.
    """
    if mask.shape != size or not np.issubdtype(mask.dtype, np.floating):
        raise ValueError(f"the mask must be float of shape {size}, got {mask.shape} {mask.dtype}")
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(f"the mask must lie in [0, 1], got {mask.min()} to {mask.max()}")
    if not mask.any():
        raise UserError(f"the mask of {what} is empty: no person was found; mark the person in it")


def make_scheduler(config: dict) -> DDIMScheduler:
    """DDIM with the noise levels of the base model's scheduler, never clipping."""
    return from_config(DDIMScheduler, {**config, "clip_sample": False})


def draw_noise(num_frames: int, shape: tuple[int, ...], settings: SamplingSettings, *, seed: int) -> Tensor:
    """Initial latents (M, *shape) in float32, by a rule that no batch size changes."""
    drawn = 1 if settings.frame_noise == "shared" else PUBLIC_BATCH
    # The whole batch is drawn even for fewer frames, so that frame k's noise is the same in a video of any length.
    noise = torch.randn((drawn, *shape), generator=torch.Generator().manual_seed(seed))
    return noise[torch.arange(num_frames) % drawn]


def guided_noise(model: DisCo, latents_BChw: Tensor, timestep: int, job: LatentJob, scale: float) -> Tensor:
    """ε with classifier-free guidance, both halves in one batch, unconditional first; up to 1 one half alone."""
    t = torch.tensor(timestep, device=latents_BChw.device)
    if scale <= 1:
        return model(latents_BChw, t, job.context, job.pose, job.background)
    contexts = torch.cat([job.context_uncond, job.context])
    latents, pose, background = (torch.cat([part] * 2) for part in (latents_BChw, job.pose, job.background))
    uncond, cond = model(latents, t, contexts, pose, background).chunk(2)
    return uncond + scale * (cond - uncond)


@torch.no_grad()
def sample_latents(model: DisCo, job: LatentJob, scheduler: DDIMScheduler, *, num_steps: int, scale: float) -> Tensor:
    """Clean latents (B, C, h, w)."""
    scheduler.set_timesteps(num_steps)
    latents_BChw = job.latents
    for timestep in scheduler.timesteps.tolist():
        noise_BChw = guided_noise(model, latents_BChw, timestep, job, scale)
        latents_BChw = scheduler.step(noise_BChw, timestep, latents_BChw, eta=0.0, return_dict=False)[0]
    return latents_BChw


@torch.no_grad()
def generate(model: DisCo, scheduler: DDIMScheduler, job: DisCoJob, settings: SamplingSettings) -> np.ndarray:
    """Frames (M, S, S, 3) uint8 RGB of the person of the reference in the poses: the centre square, S the resolution.

    Args:
        model: on its device.
        scheduler: from `make_scheduler`.

    Raises:
        UserError: the resolution does not suit the networks.
    """
    check_resolution(model, settings.resolution)
    square = centre_square(*job.reference.shape[:2])
    foreground = foreground_image(job.reference, job.mask, square, model.foreground_size)
    context = model.context(foreground[None].to(model.device))
    context_uncond = model.unconditional_context(settings.unconditional_context)
    image = background_image(job.reference, job.mask, square, settings.resolution)
    sampled = settings.background_latents == "sample"
    generator = torch.Generator().manual_seed(job.seed + BEYOND_SEEDS) if sampled else None
    background = model.encode(image[None], generator=generator).to(model.dtype)
    noise_MChw = draw_noise(len(job.poses), tuple(background.shape[1:]), settings, seed=job.seed)

    parts = []
    for start in track(range(0, len(job.poses), settings.batch_size), "sampling"):
        poses = job.poses[start : start + settings.batch_size]
        pose_square = centre_square(*poses.shape[1:3])
        count = len(poses)
        latent_job = LatentJob(
            latents=noise_MChw[start : start + count].to(model.device, model.dtype),
            background=background.expand(count, -1, -1, -1),
            pose=torch.stack([unit_image(pose, pose_square, settings.resolution) for pose in poses]).to(
                model.device, model.dtype
            ),
            context=context.expand(count, -1, -1).to(model.dtype),
            context_uncond=context_uncond.expand(count, -1, -1).to(model.dtype),
        )
        latents = sample_latents(model, latent_job, scheduler, num_steps=settings.num_steps, scale=settings.scale)
        pixels_B3HW = (model.decode(latents).float() * 255).round().byte()
        parts.append(pixels_B3HW.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def check_resolution(model: DisCo, resolution: int) -> None:
    """Raise a UserError where the networks cannot halve an image of that side evenly."""
    halvings = len(model.vae.config["block_out_channels"]) - 1 + len(model.unet.config["block_out_channels"]) - 1
    if resolution % 2**halvings:
        raise UserError(f"method.resolution={resolution} does not suit this model: use a multiple of {2**halvings}")
