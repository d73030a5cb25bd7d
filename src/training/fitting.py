"""One fit by Lightning's Trainer, whatever is trained: bar, cost, checkpoints, stopping and going on."""

import logging
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from src.common.checkpoints import usable
from src.common.errors import DamagedFile, UserError, explained
from src.common.stopping import Stopped, deferred
from src.common.system import peak_memory_gib
from src.common.trainer import TrainerSettings, seconds_of
from src.training.callbacks import FineTuneProgress, FiniteLoss, LastCheckpoint, StepTimer, TimeLimit

MakeLoggers = Callable[[], Sequence[Logger]]
log = logging.getLogger(__name__)
_LOADING = "lightning.pytorch.trainer.connectors.checkpoint_connector"


def fit_or_stop(
    trainer: Trainer,
    module: LightningModule,
    data: LightningDataModule | DataLoader | None = None,
    *,
    checkpoint: Path | None,
) -> None:
    """Train the module, in place, from a checkpoint on if there is one.

    Raises:
        DamagedFile: the checkpoint has the outline of one, and what it holds cannot be gone on with.
        Stopped: on request, whether a callback of ours or Lightning answers it.
    """
    with deferred():
        try:
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException as error:
            raise Stopped(signal.SIGTERM) from error
        except UserError:
            raise
        except Exception as error:
            if checkpoint is None or not _met_in_checkpoint(error) or explained(error) is not None:
                raise
            raise DamagedFile(
                f"the checkpoint {checkpoint} cannot be gone on with ({type(error).__name__}: {error!s:.200}): move it "
                "away, and the same command begins anew"
            ) from error


def _met_in_checkpoint(error: Exception) -> bool:
    """Whether it comes of what a checkpoint holds: of its loading, or of the optimiser's state, which the library takes
    as it stands, so that the first step meets it. What a GPU says may be told anywhere."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "CUDA" not in str(error) and (_LOADING in modules or modules[-1].startswith("torch.optim."))


@dataclass(frozen=True, kw_only=True)
class Observers:
    """Who is told of the course of a fit.

    Attributes:
        validate_every: steps between two validations, with which previews come; None: none.
        callbacks: Lightning's, beside those for cost, bar and checkpoints.
        loggers: builds Lightning's; called where there is something to fit.
    """

    validate_every: int | None = None
    callbacks: Sequence[Callback] = ()
    loggers: MakeLoggers = tuple


NOBODY = Observers()


class Fitting:
    """A Trainer that keeps the checkpoint `last.ckpt`, from which what was stopped goes on with the same next loss.

    Args:
        trainer: settings.
        rate: the setting of the learning rate, for messages.
        checkpoints: folder of the checkpoint; None: none is kept.
        checkpoint_every: steps between two checkpoints.
    """

    def __init__(
        self,
        *,
        trainer: TrainerSettings,
        rate: str,
        checkpoints: Path | None,
        checkpoint_every: int,
        observers: Observers = NOBODY,
    ) -> None:
        self.settings, self._timer = trainer, StepTimer()
        self._last = None if checkpoints is None else checkpoints / "last.ckpt"
        own: list[Callback] = [FiniteLoss(rate, what="the fine-tune"), self._timer, FineTuneProgress()]
        if self._last is not None:
            own.append(LastCheckpoint(self._last, checkpoint_every))
        if trainer.max_time is not None:
            own.append(TimeLimit(seconds_of("trainer.max_time", trainer.max_time)))
        self._trainer = trainer.build(
            folder=checkpoints,
            logger=list(observers.loggers()) or False,
            callbacks=[*own, *observers.callbacks],
            enable_checkpointing=self._last is not None,
            num_sanity_val_steps=0,
            val_check_interval=observers.validate_every,
            check_val_every_n_epoch=None,
            limit_val_batches=None if observers.validate_every else 0,
        )

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._trainer.strategy.root_device

    def fit(self, module: LightningModule, data: LightningDataModule | DataLoader) -> dict[str, Any]:
        """Train the module, in place.

        Returns:
            The record of what it cost, as `fine_tune.json` holds it.

        Raises:
            UserError: loss or weights are not finite, or the time limit came before the last step.
            Stopped: on request, after a checkpoint.
        """
        resume = None if self._last is None else usable(self._last)
        if resume is not None:
            log.info("going on from %s", resume)
        started = time.perf_counter()
        fit_or_stop(self._trainer, module, data, checkpoint=resume)
        return self._record(seconds=time.perf_counter() - started)

    def _record(self, *, seconds: float) -> dict[str, Any]:
        steps, wanted, loss = self._trainer.global_step, self.settings.max_steps, self._timer.loss
        if steps < wanted:
            raise UserError(
                f"the fine-tune stopped at step {steps} of {wanted} (trainer.max_time={self.settings.max_time}): give "
                "the same command again to go on"
            )
        return {
            "steps": steps,
            "loss": loss,
            "seconds": round(seconds, 3),
            "seconds_per_step": self._timer.seconds_per_step,
            "peak_memory_gib": round(peak_memory_gib(str(self.device)), 3),
            "device": str(self.device),
            "precision": self.settings.precision,
        }
