"""A training that fits the time there is."""

import logging
import time
from collections.abc import Callable
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar

from src.common.counting import counted

log = logging.getLogger(__name__)
# The first steps allocate and choose algorithms: their time says little of the others', but is all that is known then.
FIRST_STEPS = 30
EVERY = 20
# Reading a figure waits for the device: a bar that is told every step's would slow a GPU down.
TOLD_EVERY = 20


class Bar(RichProgressBar):
    """Lightning's bar, told the losses of every twentieth step, and how many steps there are now (`FinishInTime`)."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, Any] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """See the library."""
        if not self._told or trainer.global_step % TOLD_EVERY == 0:
            self._told = super().get_metrics(trainer, pl_module)
        return self._told

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """See the library, which asks for the number of steps once."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(self.train_progress_bar_id, total=trainer.max_steps)

    def _get_train_description(self, current_epoch: int) -> str:
        # There are steps and no epochs; as wide as the other bar's.
        return "Training".ljust(len(self.validation_description))


class FinishInTime(Callback):
    """Set the number of steps by their measured speed, so that training is whole when its time is over.

    The learning rate follows the number of steps, so it has fallen to zero by then. The number is never above the
    `max_steps` that the trainer began with. Of several devices the first one's clock counts for all.

    Args:
        seconds: of training, from its first step on.
        clock: seconds that only rise.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ends = self.clock() + self.seconds
        self._first_step, self._most_steps = trainer.global_step, trainer.max_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now, done = self.clock(), trainer.global_step - self._first_step
        if done in (1, FIRST_STEPS):
            self._timed_from, self._timed_at = now, done
        elif done < FIRST_STEPS or done % EVERY == 0:
            seconds_per_step = (now - self._timed_from) / (done - self._timed_at)
            left = max(0, int((self._ends - now) / seconds_per_step))
            # Each by its own clock, they would differ in learning rate, and wait for one that has stopped.
            steps = trainer.strategy.broadcast(min(self._most_steps, trainer.global_step + left))
            trainer.fit_loop.epoch_loop.max_steps = steps
            if done in (2, 2 * EVERY):
                log.info("finish_in: at %.3g s a step, %s in all", seconds_per_step, counted(steps, "step"))
