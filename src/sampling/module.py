"""Sampling as a LightningModule, so that the Trainer sets device and precision as in training."""

import numpy as np
import torch
from lightning import LightningModule
from torch import nn

from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.sampling.sampler import Sampler, SamplingJob, describe_references
from src.sampling.settings import MethodSettings, SamplingSettings


class SamplingModule(LightningModule):
    """`trainer.predict` over sampling jobs.

    Args: as of `Sampler`.
    """

    def __init__(
        self, image_model: ImageModel, backbone: VideoBackbone, method: MethodSettings, sampling: SamplingSettings
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoders = nn.ModuleDict({"vae": image_model.vae, "text_encoder": image_model.text_encoder})
        self.sampler = Sampler(image_model, backbone, method, sampling)

    def predict_step(self, job: SamplingJob, batch_idx: int) -> tuple[np.ndarray, dict]:
        """Frames (M, H, W, 3) uint8 of the job's target poses, and the references used, as plain values."""
        frames, references = self.sampler.sample(job)
        return frames, describe_references(references)

    def transfer_batch_to_device(self, batch: SamplingJob, device: torch.device, dataloader_idx: int) -> SamplingJob:
        """A job holds arrays; the sampler moves what it makes of them."""
        return batch
