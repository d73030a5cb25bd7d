"""DisCo's fine-tuning (section 5): what is trained, what a step sees, its loss and its rate.

Dimensions: N frames of the clip, B of a step, H×W pixels, h×w latent cells, C latent channels, T tokens, E context
channels.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from torch import Tensor, nn

from src.baselines.disco.model import DisCo
from src.baselines.disco.preprocessing import (
    background_image,
    foreground_image,
    random_square,
    signed_image,
    unit_image,
)
from src.baselines.disco.sampling import check_mask
from src.baselines.disco.settings import FineTuneSettings, Trained
from src.common.arrays import height_width
from src.common.digests import arrays_sha256

_SEED_STRIDE = 1_000_003


@dataclass(frozen=True, eq=False)
class DisCoClip:
    """The clip that is fine-tuned on.

    Attributes:
        frames: (N, H, W, 3) uint8 RGB.
        masks: (N, H, W) float in [0, 1], 1 where the person is.
        poses: (N, H, W, 3) uint8 RGB, skeletons drawn as DisCo draws them.
    """

    frames: np.ndarray
    masks: np.ndarray
    poses: np.ndarray

    def __post_init__(self) -> None:
        for name, images in (("frames", self.frames), ("poses", self.poses)):
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape != self.frames.shape:
                raise ValueError(f"{name} must be uint8 like the frames {self.frames.shape}, got {images.shape}")
        if len(self.masks) != len(self.frames):
            raise ValueError(f"{len(self.frames)} frames cannot have {len(self.masks)} masks")
        for number, mask in enumerate(self.masks):
            check_mask(mask, height_width(self.frames), what=f"training frame {number}")

    def __len__(self) -> int:
        return len(self.frames)

    def sha256(self) -> str:
        """Checksum of frames, masks and poses."""
        return arrays_sha256(self.frames, self.masks, self.poses)


@dataclass(frozen=True)
class FineTuneBatch:
    """What a step sees.

    Attributes:
        target: (B, 3, H, W) in [-1, 1], the frames to be predicted.
        pose: (B, 3, H, W) in [0, 1], theirs.
        foreground: (B, 3, h, w) of the references, for CLIP.
        background: (B, 3, H, W) in [-1, 1] of the references, the person grey.
    """

    target: Tensor
    pose: Tensor
    foreground: Tensor
    background: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "FineTuneBatch":
        return FineTuneBatch(*(getattr(self, name).to(device, dtype) for name in self.__dataclass_fields__))


def trained_parameters(model: DisCo, trained: Trained) -> dict[str, nn.Parameter]:
    """What is trained, by its name in the model; 404,953,472 values with Stable Diffusion's sizes if human-specific.

    `human_specific`: the cross-attention of the UNet's 16 blocks, the background ControlNet and the projection of
    CLIP's tokens. `general`: the whole UNet, both ControlNets and the projection. Never the VAE or CLIP.
    """

    def is_trained(name: str) -> bool:
        if trained == "general":
            return name.startswith(("unet.", "controlnet.", "refer_clip_proj."))
        return (name.startswith("unet.") and ".attn2." in name) or name.startswith(
            ("controlnet.nets.1.", "refer_clip_proj.")
        )

    return {name: parameter for name, parameter in model.named_parameters() if is_trained(name)}


def draw_references(num_frames: int, settings: FineTuneSettings, *, seed: int) -> np.ndarray:
    """(N,) the frame that shows the person for each target frame, drawn once."""
    if settings.reference == "first":
        return np.zeros(num_frames, int)
    return torch.randint(num_frames, (num_frames,), generator=torch.Generator().manual_seed(seed)).numpy()


def step_generator(seed: int, step: int) -> torch.Generator:
    """All that is random in a step follows from seed and step, so that a resumed run repeats it."""
    return torch.Generator().manual_seed(seed * _SEED_STRIDE + step)


def draw_batch(
    clip: DisCoClip,
    references: np.ndarray,
    settings: FineTuneSettings,
    *,
    foreground_size: int,
    generator: torch.Generator,
) -> FineTuneBatch:
    """Frames of a step, each under a crop of its own that its reference, pose and mask share.

    No frame comes again before all others have come.
    """
    drawn = [torch.randperm(len(clip), generator=generator) for _ in range(-(-settings.batch_size // len(clip)))]
    targets = torch.cat(drawn)[: settings.batch_size].tolist()
    keeps_reference = float(torch.rand((), generator=generator)) >= settings.drop_reference
    height, width = clip.frames.shape[1:3]
    rows = []
    for target in targets:
        square = random_square(height, width, least_area=settings.crop_scale, generator=generator)
        reference = clip.frames[references[target]]
        mask = (clip.masks[references[target]] > settings.mask_threshold).astype(np.float32)
        foreground = foreground_image(reference, mask, square, foreground_size)
        rows.append(
            (
                signed_image(clip.frames[target], square, settings.resolution),
                unit_image(clip.poses[target], square, settings.resolution),
                foreground if keeps_reference else torch.zeros_like(foreground),
                background_image(reference, mask, square, settings.resolution),
            )
        )
    return FineTuneBatch(*(torch.stack(images) for images in zip(*rows, strict=True)))


def fine_tune_loss(
    model: DisCo, scheduler: DDIMScheduler, batch: FineTuneBatch, *, generator: torch.Generator
) -> Tensor:
    """Mean squared error of the noise, each sample at a timestep of its own; VAE and CLIP give no gradient.

    Args:
        batch: on the model's device.
        generator: of the VAE's samples, the timesteps and the noise, on the CPU.
    """
    with torch.no_grad():
        latents_BChw = model.encode(batch.target, generator=generator)
        background_BChw = model.encode(batch.background, generator=generator)
    timesteps_B = torch.randint(scheduler.config["num_train_timesteps"], (len(latents_BChw),), generator=generator)
    noise_BChw = torch.randn(latents_BChw.shape, generator=generator).to(latents_BChw)
    timesteps_B = timesteps_B.to(latents_BChw.device)
    noisy_BChw = scheduler.add_noise(latents_BChw, noise_BChw, cast(torch.IntTensor, timesteps_B))
    predicted_BChw = model(noisy_BChw, timesteps_B, model.context(batch.foreground), batch.pose, background_BChw)
    return F.mse_loss(predicted_BChw.float(), noise_BChw.float())


def rate_factor(step: int, settings: FineTuneSettings) -> float:
    """Share of the learning rate in a step: up over the warm-up, then down to the floor, both linearly.

    >>> few = FineTuneSettings(max_steps=10, warmup=0.2)
    >>> [round(rate_factor(step, few), 3) for step in range(10)]
    [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    """
    warm = round(settings.warmup * settings.max_steps)
    if step < warm:
        return (step + 1) / warm
    falling = (settings.max_steps - step) / max(1, settings.max_steps - warm)
    return max(settings.floor / settings.learning_rate, falling)
