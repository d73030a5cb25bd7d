"""The one-shot fine-tune (Sec. 4.1, Eq. 3) as a LightningModule.

Dimensions: n frames of a step, C channels, H×W pixels, h×w latent cells.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from lightning import LightningModule
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from src.common.errors import UserError
from src.models.backbone import VideoBackbone
from src.models.scheduler import training_target
from src.models.settings import GradientCheckpointing
from src.training.checkpointing import set_checkpointing
from src.training.data_module import OneShotDataModule, StepBatch
from src.training.settings import OptimizerSettings


class OneShotModule(LightningModule):
    """Fine-tune the backbone on one clip.

    Args:
        backbone: its trained part is what the optimiser sees, and what checkpoints hold.
        scheduler: the noise levels of the image model.
        optimizer: of the trained part.
        gradient_checkpointing: of both networks; `auto`: where the memory of a step needs it.
    """

    def __init__(
        self,
        backbone: VideoBackbone,
        scheduler: DDIMScheduler,
        optimizer: OptimizerSettings,
        *,
        gradient_checkpointing: GradientCheckpointing = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.scheduler = scheduler
        self.optimizer = optimizer
        self.gradient_checkpointing: GradientCheckpointing = gradient_checkpointing
        self.strict_loading = False  # checkpoints hold the trained part alone; its names are checked on loading

    def on_fit_start(self) -> None:
        """Embed the clip's poses and prompt, which no step changes, and choose what a step keeps for its way back."""
        # Lightning sets it where it is given one, as here, and declares it nowhere.
        data: OneShotDataModule = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        clip = data.clip
        with self.trainer.precision_plugin.forward_context():
            self._conditioning = self.backbone.prepare(
                *(clip.poses_N3HW[None].to(self.device), clip.text_1TE.to(self.device)),
                conditions=[images_N3HW[None].to(self.device) for images_N3HW in clip.conditions],
            )
            set_checkpointing(
                *(self.backbone, self.gradient_checkpointing, self._conditioning, clip.latents_NChw.to(self.device)),
                batch_frames=data.batch_frames,
            )

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        """The loss of a step."""
        loss = self._loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Log the loss of fixed steps."""
        self.log("validation/loss", self._loss(batch), batch_size=1)

    def _loss(self, batch: StepBatch) -> Tensor:
        """‖ε − ε_θ(Z_t, t, Q, p_s)‖² (Eq. 3), the mean over the drawn frames; of a model that predicts v, in v."""
        latents_nChw, noise_nChw, t_1 = batch["latents"], batch["noise"], batch["timestep"]
        noised_nChw = self.scheduler.add_noise(latents_nChw, noise_nChw, cast(torch.IntTensor, t_1))
        predicted_1nChw = self.backbone(noised_nChw[None], t_1, self._conditioning.frames(batch["frames"]))
        target_nChw = training_target(self.scheduler, latents_nChw, noise_nChw, t_1)
        return F.mse_loss(predicted_1nChw[0].float(), target_nChw)

    def configure_optimizers(self) -> Optimizer:
        """The optimiser over what the method trains."""
        scaled = str(self.trainer.precision) == "16-mixed"
        return self.optimizer.build(self.backbone.trainable_state().values(), scaled=scaled)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Limit the norm of the gradient; Lightning's own refuses fused optimisers in every mixed precision."""
        if gradient_clip_val:
            clip_grad_norm_(self.backbone.trainable_state().values(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained parameters alone: the frozen ones are the image model's."""
        checkpoint["state_dict"] = self._trained()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose tensors are not exactly those that are trained."""
        expected = {name: value.shape for name, value in self._trained().items()}
        found = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        if expected != found:
            differing = sorted(name for name, _ in expected.items() ^ found.items())
            raise UserError(
                f"the checkpoint trains other parameters ({differing[0]}, …): it was made by another version or for "
                "another model; choose another run_dir"
            )

    def _trained(self) -> dict[str, Tensor]:
        return {f"backbone.{name}": p.detach() for name, p in self.backbone.trainable_state().items()}
