"""The one-shot fine-tune (Sec. 4.1, Eq. 3) as a LightningModule.

Dimensions: N training frames, n frames of a step, C channels, H×W pixels, h×w latent cells, T text tokens.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from src.models.backbone import VideoBackbone
from src.training.data_module import EncodedClip


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


class OneShotModule(LightningModule):
    """Fine-tune the backbone on one clip.

    Args:
        backbone: its trained part is what the optimiser sees, and what checkpoints hold.
        scheduler: the noise levels of the image model.
        optimizer: called with the trained parameters.
        batch_frames: n, frames of a step.
        seed: of frames, timesteps and noise.
    """

    def __init__(
        self,
        backbone: VideoBackbone,
        scheduler: DDIMScheduler,
        optimizer: Callable[[Iterator[Tensor]], Optimizer],
        *,
        batch_frames: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.scheduler = scheduler
        self.optimizer = optimizer
        self.batch_frames = batch_frames
        self.seed = seed
        self.strict_loading = False  # checkpoints hold the trained part alone; its names are checked on loading

    def training_step(self, clip: EncodedClip, batch_idx: int) -> Tensor:
        """‖ε − ε_θ(Z_t, t, Q, p_s)‖² (Eq. 3), the mean over the drawn frames."""
        latents_NChw = clip["latents"]
        frames, timestep, noise_nChw = draw_step(
            len(latents_NChw),
            self.batch_frames,
            tuple(latents_NChw.shape[1:]),
            self.scheduler.config.num_train_timesteps,
            self.seed,
            self.global_step,
        )
        frames, noise_nChw = frames.to(self.device), noise_nChw.to(latents_NChw)
        t = torch.tensor([timestep], device=self.device)
        noised_nChw = self.scheduler.add_noise(latents_NChw[frames], noise_nChw, t)
        poses_nCHW = clip["poses"][frames].to(latents_NChw.dtype) / 255
        predicted_1nChw = self.backbone(noised_nChw[None], t, poses_nCHW[None], clip["text"])
        loss = F.mse_loss(predicted_1nChw[0].float(), noise_nChw)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Optimizer:
        """The given optimiser over what the method trains."""
        return self.optimizer(self.backbone.trainable_state().values())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The trained parameters alone: the frozen ones are the image model's."""
        return {f"backbone.{name}": p.detach() for name, p in self.backbone.trainable_state().items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose tensors are not exactly those that are trained."""
        expected = {name: value.shape for name, value in self.state_dict().items()}
        found = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        if expected != found:
            raise ValueError(f"the checkpoint trains other parameters: {sorted(expected.items() ^ found.items())[:2]}")
