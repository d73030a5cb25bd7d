"""What watches a fine-tune: its cost, its bar, requests to stop, and pictures in its course.

Dimensions: M target poses, H×W pixels.
"""

import logging
import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from src.common import stopping
from src.common.errors import UserError
from src.common.progress import progress_bar
from src.media.contact_sheet import Row, contact_sheet
from src.pose.draw import draw_poses
from src.sampling.sampler import Sampler

log = logging.getLogger(__name__)


class StepTimer(Callback):
    """Seconds a step and the last loss, for `summary.json`; the first step of a run is left out of the mean."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.seconds: list[float] = []
        self.loss: float | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Reading the loss waits for the device, so the time is that of the whole step.
        self.loss = float(outputs["loss"])
        self.seconds.append(time.perf_counter() - self._started)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: a run that has no step left to do knows its last loss from here."""
        return {"loss": self.loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`; what is no number there is no loss: checkpoints come from anyone."""
        loss = state_dict.get("loss")
        self.loss = loss if isinstance(loss, float) else None

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the steps of this process but the first; None before the second."""
        return float(np.mean(self.seconds[1:])) if len(self.seconds) > 1 else None


class FiniteLoss(Callback):
    """Ends a training whose loss or weights are not finite, before that reaches a checkpoint.

    A finite loss may have a gradient that is not. A scaled gradient (`16-mixed`) overflows now and then, and its step
    is left out: so the weights are looked at instead, and only where they are to be kept.

    Args:
        what: what has diverged then, and
        rate: the setting of its learning rate, for the message.
        every: steps between two looks, before which the loss reaches the weights in memory: each waits for the device.
    """

    def __init__(self, rate: str, *, what: str, every: int = 1) -> None:
        self.rate, self.what, self.every = rate, what, every
        self._unseen: list[tuple[int, Tensor]] = []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._unseen.append((trainer.global_step + 1, loss.detach().clone()))
        if len(self._unseen) >= self.every:
            self._look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._look(trainer)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        finite = [weight.isfinite().all() for group in groups for weight in group["params"]]
        if not torch.stack(finite).all():
            raise self._diverged(f"the weights are not finite after step {trainer.global_step}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        unseen, self._unseen = self._unseen, []
        values = torch.stack([loss for _, loss in unseen]).tolist() if unseen else []
        bad = ((step, value) for (step, _), value in zip(unseen, values, strict=True) if not math.isfinite(value))
        step, loss = next(bad, (trainer.global_step, None))
        # The gradient of one process is that of all.
        if trainer.strategy.reduce_boolean_decision(loss is not None, all=False):
            raise self._diverged(f"the loss is {'not finite' if loss is None else loss} at step {step}")

    def _diverged(self, seen: str) -> UserError:
        return UserError(
            f"{seen}: {self.what} has diverged; a smaller {self.rate} or trainer.precision=32-true may help, and the "
            "last good checkpoint is kept"
        )


class FineTuneProgress(Callback):
    """The bar of a fine-tune: steps of the whole run, time left and the loss; a resumed run starts where it stopped."""

    def __init__(self) -> None:
        self._bar = progress_bar()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.start()
        self._task = self._bar.add_task("fine-tune", total=trainer.max_steps, completed=trainer.global_step, note="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._bar.update(self._task, completed=trainer.global_step, note=f"loss {float(outputs['loss']):.4f}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bar.stop()


class LastCheckpoint(Checkpoint):
    """Keeps the checkpoint that a training goes on from: one file, of every n-th step and of where it is stopped.

    Lightning calls checkpoints behind all other callbacks: what these do in a step is in the checkpoint of that step.

    Args:
        path: of the checkpoint.
        every: steps between two.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Of src.pretrain all processes stop at one step: a checkpoint needs them all.
        asked = trainer.strategy.reduce_boolean_decision(stopping.asked() is not None, all=False)
        if asked or trainer.should_stop:
            self._save(trainer)
            log.info("stopped after step %d, which is kept in %s", trainer.global_step, self.path)
        elif trainer.global_step % self.every == 0:
            self._save(trainer)
        if asked:
            stopping.raise_if_asked()
            raise stopping.Stopped(signal.SIGTERM)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Lightning's own answer to SIGTERM, given between steps; before the first one nothing is new.
        if isinstance(exception, SIGTERMException) and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        # All of it; where nothing is said Lightning logs that it was not.
        trainer.save_checkpoint(self.path, weights_only=False)


class TimeLimit(Callback):
    """End a training in order after so many seconds of this process.

    Args:
        seconds: from the first step on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end = time.monotonic() + self.seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.strategy.reduce_boolean_decision(time.monotonic() > self._end, all=False):
            log.info("out of time at step %d", trainer.global_step)
            trainer.should_stop = True


class Preview(Callback):
    """Generate a few held-out poses at each validation and log the picture.

    Args:
        sampler: of one segment with those poses, in fewer steps than the final video.
        folder: where `step_00100.png` goes.
    """

    def __init__(self, sampler: Sampler, folder: Path) -> None:
        self.sampler, self.folder = sampler, folder

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        image_model, device = self.sampler.image_model, trainer.strategy.root_device
        image_model.move_encoders(device)
        try:
            with trainer.precision_plugin.predict_step_context():
                frames = self.sampler.predict_step(0, 0)
        except UserError as error:
            # The training does not need it.
            log.warning("no preview of step %d: %s", trainer.global_step, error)
            return
        finally:
            # As `encode_clip` left them: a step counts on their memory.
            image_model.move_encoders(torch.device("cpu"))
        path = self.folder / f"step_{trainer.global_step:05d}.png"
        job = self.sampler.segments[0]
        drawn = draw_poses(job.target_poses, job.image_size)
        contact_sheet([Row("pose", drawn), Row("generated", frames)], path)
        log.info("preview: %s", path)
        for logger in trainer.loggers:
            _log_picture(logger, frames, trainer.global_step)


def _log_picture(logger: Logger, frames_MHWC: np.ndarray, step: int) -> None:
    row_HWC = np.concatenate(list(frames_MHWC), 1)
    if isinstance(logger, WandbLogger):
        logger.log_image("preview", [row_HWC], step=step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image("preview", row_HWC, step, dataformats="HWC")
