"""DisCo's fine-tuning as a LightningModule; its data is the clip, once a step."""

import itertools
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from diffusers import DDIMScheduler
from lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from src.baselines.disco.fine_tune import (
    DisCoClip,
    draw_batch,
    draw_references,
    fine_tune_loss,
    rate_factor,
    step_generator,
    trained_parameters,
)
from src.baselines.disco.model import DisCo
from src.baselines.disco.settings import FineTuneSettings
from src.common.errors import UserError

T = TypeVar("T")


class DisCoFineTuneModule(LightningModule):
    """Fine-tune DisCo on one clip.

    Args:
        model: what the settings train of it is made trainable, everything else frozen.
        scheduler: the noise levels of the base model.
        settings: of the fine-tune.
        seed: of frames, references, crops, timesteps and noise.
    """

    def __init__(self, model: DisCo, scheduler: DDIMScheduler, settings: FineTuneSettings, *, seed: int) -> None:
        super().__init__()
        self.model, self.scheduler, self.settings, self.seed = model, scheduler, settings, seed
        self.strict_loading = False  # checkpoints hold the trained part alone; its names are checked on loading
        model.requires_grad_(False)
        for parameter in self.trained().values():
            parameter.requires_grad_(True)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by its name in the model."""
        return trained_parameters(self.model, self.settings.trained)

    def training_step(self, clip: DisCoClip, batch_idx: int) -> Tensor:
        """The loss of the step's frames; the step, not the batch index, decides what is drawn."""
        generator = step_generator(self.seed, self.global_step)
        references = draw_references(len(clip), self.settings, seed=self.seed)
        batch = draw_batch(
            clip, references, self.settings, foreground_size=self.model.foreground_size, generator=generator
        )
        loss = fine_tune_loss(self.model, self.scheduler, batch.to(self.device, self.model.dtype), generator=generator)
        self.log("train/loss", loss, prog_bar=True, batch_size=self.settings.batch_size)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW over what is trained, its rate by `rate_factor`."""
        optimizer = torch.optim.AdamW(
            self.trained().values(),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, self.settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: DisCoClip, device: torch.device, dataloader_idx: int) -> DisCoClip:
        """The clip holds arrays; a step moves what it makes of them."""
        return batch

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The trained parameters alone: the frozen ones are the checkpoint's."""
        return {f"model.{name}": parameter.detach() for name, parameter in self.trained().items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose tensors are not exactly those that are trained."""
        expected = {name: value.shape for name, value in self.state_dict().items()}
        found = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        if expected != found:
            first = min(name for name, _ in expected.items() ^ found.items())
            raise UserError(f"the checkpoint trains other parameters ({first}, …): move it away to train anew")


class Repeated(IterableDataset):
    """A clip, step after step; without an end, so that a run that goes on is in the middle of nothing."""

    def __init__(self, clip: DisCoClip) -> None:
        super().__init__()
        self.clip = clip

    def __iter__(self) -> Iterator[DisCoClip]:
        return itertools.repeat(self.clip)


def clip_loader(clip: DisCoClip) -> DataLoader:
    """The clip, once a step."""
    return DataLoader(Repeated(clip), batch_size=None, collate_fn=_as_it_is)


def _as_it_is(clip: T) -> T:
    return clip
