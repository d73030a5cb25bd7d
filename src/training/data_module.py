"""The training clip as Lightning data, encoded once."""

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from src.pose.draw import draw_poses
from src.pose.keypoints import PoseSequence


class EncodedClip(TypedDict):
    """The training clip, encoded once.

    latents: (N, C, h, w) float32, Z_0; poses: (N, 3, H, W) uint8 pose images; text: (1, T, E), the source prompt.
    """

    latents: Tensor
    poses: Tensor
    text: Tensor


class Encoder(Protocol):
    """What turns a clip into an `EncodedClip`; `src.models.image_model.ImageModel` is one."""

    def move_encoders(self, device: torch.device) -> None:
        """Bring the encoders to a device."""

    def encode_frames(self, frames_FHWC: np.ndarray) -> Tensor:
        """uint8 frames to latents (F, C, h, w)."""

    def encode_prompt(self, prompt: str) -> Tensor:
        """Prompt to (1, T, E)."""


class OneShotDataModule(LightningDataModule):
    """N training frames with their poses and prompt; every step gets all of them and draws its own n.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        poses: their N poses.
        prompt: the source prompt p_s.
        encoder: the image model's VAE and text encoder, used once.
        num_steps: length of the run.
    """

    def __init__(
        self,
        frames: np.ndarray,
        poses: PoseSequence,
        prompt: str,
        *,
        encoder: Encoder,
        num_steps: int,
    ) -> None:
        super().__init__()
        self.frames, self.poses, self.prompt = frames, poses, prompt
        self.encoder = encoder
        self.num_steps = num_steps
        self._clip: EncodedClip | None = None

    def setup(self, stage: str) -> None:
        """Encode frames and prompt and draw the poses, the first time only."""
        if self._clip is None:
            self.encoder.move_encoders(self.trainer.strategy.root_device)
            drawn = draw_poses(self.poses, self.frames.shape[1:3])
            self._clip = EncodedClip(
                latents=self.encoder.encode_frames(self.frames),
                poses=torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous(),
                text=self.encoder.encode_prompt(self.prompt),
            )

    def train_dataloader(self) -> DataLoader:
        """The encoded clip, once a step."""
        steps: Sequence[EncodedClip] = [self._clip] * self.num_steps
        return DataLoader(steps, batch_size=None)

    def transfer_batch_to_device(self, batch: EncodedClip, device: torch.device, dataloader_idx: int) -> EncodedClip:
        """Move the clip once instead of at every step."""
        if self._clip["latents"].device != device:
            self._clip = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return self._clip
