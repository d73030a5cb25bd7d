"""What the four pre-trainings share: pools of people, endless batches, optimiser and learning-rate schedule.

Dimensions: B frames of a batch, C channels, H×W pixels.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from src.miniature.pools import IndexBatches, PeoplePool
from src.miniature.rows import Rows
from src.miniature.settings import StepSettings

LARGEST_FILE = "15MB"  # machines that are lent for an hour often limit the files that come back


class PoolModule(lightning.LightningModule):
    """A model that trains on a pool of rendered people and is measured on people it has never seen.

    `pictures` names what its steps look at: `frames`, `drawings` or both.

    Args:
        train: the pool to train on.
        heldout: the pool to measure on.
        settings: the fields of `StepSettings`, as `conf/part` has them.
    """

    pictures: ClassVar[tuple[str, ...]] = ("frames",)

    def __init__(self, train: PeoplePool, heldout: PeoplePool, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.pools = {"train": train, "heldout": heldout}
        self.rows = {
            (stage, name): Rows(getattr(pool, name)) for stage, pool in self.pools.items() for name in self.pictures
        }
        self.steps = StepSettings(**settings)

    def on_fit_start(self) -> None:
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if sum(rows.nbytes for rows in self.rows.values()) < free / 2:
                for rows in self.rows.values():
                    rows.keep_on(self.device)

    def on_train_start(self) -> None:
        # A checkpoint brings the optimiser's settings of its time: after a divergence the command has a lower rate.
        scheduler = cast(LambdaLR, self.lr_schedulers())
        scheduler.base_lrs = [self.steps.learning_rate]
        [group] = scheduler.optimizer.param_groups
        group["weight_decay"] = self.steps.weight_decay
        group["initial_lr"] = self.steps.learning_rate
        group["lr"] = self.steps.learning_rate * self.learning_rate_factor(scheduler.last_epoch)

    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Tensor:
        """Leave the indices where they are: to read them on a GPU would be to wait for it in every step."""
        return batch

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the weights into their subfolders of `folder`, in half precision, in files of `LARGEST_FILE`."""

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def generator(self, batch_idx: int | None = None) -> torch.Generator:
        """A CPU generator of this step's own, so that a resumed run draws what an unbroken one would.

        With `batch_idx`, that of a validation batch: the same at every validation.
        """
        step = self.global_step if batch_idx is None else -1 - batch_idx
        words = np.random.SeedSequence([self.steps.seed, abs(step), int(step < 0), self.global_rank]).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))

    def images(self, stage: str, name: str, index: np.ndarray) -> Tensor:
        """The chosen pictures (B, C, H, W) in [0, 1] of `frames` or `drawings`, on this module's device."""
        images_BHWC = self.rows[stage, name].gather(index, self.device)
        return images_BHWC.permute(0, 3, 1, 2).float() / 255

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.trained(), self.steps.learning_rate, weight_decay=self.steps.weight_decay)
        scheduler = LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def learning_rate_factor(self, step: int) -> float:
        left = (self.trainer.max_steps - step) / (self.steps.decay_fraction * self.trainer.max_steps)
        return max(0.0, min(1.0, (step + 1) / max(1, self.steps.warmup_steps), left))

    def train_dataloader(self) -> DataLoader:
        # Processes take turns in one order of batches, so that together they are one run of a larger batch.
        processes = self.trainer.world_size
        batches = IndexBatches(
            len(self.pools["train"]),
            batch_size=self.steps.batch_size // processes,
            seed=self.steps.seed,
            start=self.trainer.global_step * processes + self.global_rank,
            every=processes,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        index = torch.arange(len(self.pools["heldout"]))
        return DataLoader(cast("Dataset[Tensor]", index), batch_size=self.steps.batch_size)


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, which is what is measured and exported.

    The decay starts low, min(decay, (1 + n) / (10 + n)) after n steps, so that short runs forget where they began.

    Args:
        decay: of a step.
    """

    def __init__(self, decay: float) -> None:
        self.every = 1
        self._swapped = False

        def average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
            if averaged[0].is_floating_point():
                done = int(count) * self.every
                torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + done) / (10 + done)) ** self.every)
            else:  # counters and positions
                torch._foreach_copy_(averaged, current)

        super().__init__(multi_avg_fn=average, use_buffers=True)

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Put the average where the model is going to train."""
        self._device = trainer.strategy.root_device
        # The library waits for a GPU in every update.
        self.every = 8 if self._device.type == "cuda" else 1
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """See the library."""
        return step_idx is not None and (step_idx + 1) % self.every == 0

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average into the module."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the weights that train back into it."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """The same where a measurement is broken off: checkpoints, whose turn is after this, hold each in its place."""
        if self._swapped:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the average in the module, also where a finished run had no step left to train."""
        self.on_train_end(trainer, pl_module)


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of mean squared errors, of any shape, of images in [0, 1]."""
    return -10 * error.clamp_min(1e-10).log10()
