"""The training clip as Lightning data: encoded once, before the first step; a batch is all that a step draws.

Dimensions: N training frames, n frames of a step, C channels, H×W pixels, h×w latent cells, T text tokens, E text
channels.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict, cast

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from src.common.arrays import height_width
from src.data.subject_split import TrainingClip
from src.models.image_model import ImageModel
from src.pose.draw import draw_poses

# Of the validation loss: timesteps in equal distances, the same noise each time.
VALIDATION_DRAWS = 8


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """The training clip as the backbone sees it.

    Attributes:
        latents_NChw: float32, Z_0.
        poses_N3HW: uint8 pose images.
        text_1TE: the source prompt.
        conditions: uint8 images (N, 3, H, W) of each ControlNet beside the pose one.
    """

    latents_NChw: Tensor
    poses_N3HW: Tensor
    text_1TE: Tensor
    conditions: tuple[Tensor, ...] = ()


class StepBatch(TypedDict):
    """What one step is made of.

    frames: (n,) numbers of the drawn frames; latents: (n, C, h, w), their Z_0; noise: likewise, ε; timestep: (1,), t.
    """

    frames: Tensor
    latents: Tensor
    noise: Tensor
    timestep: Tensor


def encode_clip(image_model: ImageModel, clip: TrainingClip, device: torch.device) -> EncodedClip:
    """Encode frames and prompt on a device, and take the encoders off it again: no step needs them."""
    image_model.move_encoders(device)
    drawn_NHWC = draw_poses(clip.poses, height_width(clip.frames))
    encoded = EncodedClip(
        latents_NChw=image_model.encode_frames(clip.frames),
        poses_N3HW=torch.from_numpy(drawn_NHWC).permute(0, 3, 1, 2).contiguous(),
        text_1TE=image_model.encode_prompt(clip.prompt),
        conditions=tuple(torch.from_numpy(i).permute(0, 3, 1, 2).contiguous() for i in clip.conditions),
    )
    image_model.move_encoders(torch.device("cpu"))
    return encoded


def draw_step(
    num_frames: int, batch_frames: int, latent_shape: tuple[int, ...], num_timesteps: int, seed: int, step: int
) -> tuple[Tensor, int, Tensor]:
    """Everything random in training step `step`, a function of seed and step alone, so that a resumed run repeats it.

    Returns:
        Indices (n,) of min(n, N) frames drawn without replacement, in time order; one timestep for the clip; noise
        (n, *latent_shape).
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    frames = torch.randperm(num_frames, generator=generator)[:batch_frames].sort().values
    timestep = int(torch.randint(num_timesteps, (), generator=generator))
    return frames, timestep, torch.randn((len(frames), *latent_shape), generator=generator)


class Steps(IterableDataset):
    """Endless steps.

    Args:
        draw: what a step is made of, by its number.
        first: number of the first.
    """

    def __init__(self, draw: Callable[[int], StepBatch], first: int) -> None:
        super().__init__()
        self.draw, self.first = draw, first

    def __iter__(self) -> Iterator[StepBatch]:
        return map(self.draw, itertools.count(self.first))


class OneShotDataModule(LightningDataModule):
    """Steps of the fine-tune and, to look at its course with less noise, a fixed set of them.

    Args:
        clip: encoded.
        batch_frames: n, frames of a step.
        num_timesteps: T.
        seed: of frames, timesteps and noise.
    """

    def __init__(self, clip: EncodedClip, *, batch_frames: int, num_timesteps: int, seed: int) -> None:
        super().__init__()
        self.clip, self.batch_frames, self.num_timesteps, self.seed = clip, batch_frames, num_timesteps, seed

    def train_dataloader(self) -> DataLoader:
        """A step at a time, from where the run stands."""
        assert self.trainer is not None
        return DataLoader(Steps(self.step, first=self.trainer.global_step), batch_size=None)

    def step(self, number: int) -> StepBatch:
        """All that a step draws."""
        latents_NChw = self.clip.latents_NChw
        frames, timestep, noise_nChw = draw_step(
            *(
                len(latents_NChw),
                self.batch_frames,
                tuple(latents_NChw.shape[1:]),
                self.num_timesteps,
                self.seed,
                number,
            )
        )
        frames = frames.to(latents_NChw.device)
        return StepBatch(
            frames=frames, latents=latents_NChw[frames], noise=noise_nChw, timestep=torch.tensor([timestep])
        )

    def val_dataloader(self) -> DataLoader:
        """The first frames at timesteps in equal distances, always with the same noise."""
        latents_nChw = self.clip.latents_NChw[: self.batch_frames]
        generator = torch.Generator().manual_seed(self.seed)
        spacing = self.num_timesteps / VALIDATION_DRAWS
        draws = [
            StepBatch(
                frames=torch.arange(len(latents_nChw)),
                latents=latents_nChw,
                noise=torch.randn(latents_nChw.shape, generator=generator),
                timestep=torch.tensor([int((draw + 0.5) * spacing)]),
            )
            for draw in range(VALIDATION_DRAWS)
        ]
        return DataLoader(cast("Dataset[StepBatch]", draws), batch_size=None)
