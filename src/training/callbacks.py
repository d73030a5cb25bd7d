"""What watches a fine-tune: its cost, and pictures in its course.

Dimensions: M target poses, H×W pixels.
"""

import logging
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig

from src.common.progress import progress_bar
from src.media.contact_sheet import contact_sheet, spread
from src.pose.draw import draw_poses
from src.sampling.sampler import Sampler, SamplingJob

log = logging.getLogger(__name__)
GIB = 2**30


def peak_memory_gib(device: torch.device) -> float:
    """Peak memory since the start: of the GPU's allocator, or of the process where it runs on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


class Cost(Callback):
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

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the steps of this process but the first; None before the second."""
        return float(np.mean(self.seconds[1:])) if len(self.seconds) > 1 else None


class FineTuneProgress(Callback):
    """The bar of a fine-tune: steps of the whole run, time left and the loss; a resumed run starts where it stopped."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar = progress_bar()
        self._bar.start()
        self._task = self._bar.add_task("fine-tune", total=trainer.max_steps, completed=trainer.global_step, note="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._bar.update(self._task, completed=trainer.global_step, note=f"loss {float(outputs['loss']):.4f}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bar.stop()


def previews(settings: DictConfig, sampler: Sampler, job: SamplingJob, folder: Path) -> list[Callback]:
    """The callback that the config group `preview` of `conf/train.yaml` asks for, if any.

    Args:
        settings: `every_n_steps`, `num_poses`, `num_steps`.
        sampler, job: of the final video; a preview takes some of its poses and fewer steps.
        folder: where the pictures go.
    """
    if not settings.every_n_steps:
        return []
    few = replace(job, target_poses=job.target_poses[spread(len(job.target_poses), settings.num_poses)])
    quick = replace(sampler.sampling, num_steps=settings.num_steps)
    quick_sampler = Sampler(sampler.image_model, sampler.backbone, sampler.method, quick)
    return [Preview(quick_sampler, few, folder, settings.every_n_steps)]


class Preview(Callback):
    """Sample a few held-out poses now and then and log the picture.

    Args:
        sampler: with fewer steps than the final one.
        job: the poses to film.
        folder: where `step_00100.png` goes.
        every_n_steps: how often.
    """

    def __init__(self, sampler: Sampler, job: SamplingJob, folder: Path, every_n_steps: int) -> None:
        self.sampler, self.job, self.folder, self.every_n_steps = sampler, job, folder, every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every_n_steps or not trainer.is_global_zero:
            return
        pl_module.eval()
        with trainer.precision_plugin.predict_step_context():
            frames, _ = self.sampler.sample(self.job)
        pl_module.train()
        path = self.folder / f"step_{trainer.global_step:05d}.png"
        rows = [("pose", draw_poses(self.job.target_poses, self.job.image_size)), ("generated", frames)]
        contact_sheet(rows, path)
        log.info("preview: %s", path)
        for logger in trainer.loggers:
            _log_picture(logger, frames, trainer.global_step)


def _log_picture(logger: Logger, frames_MHWC: np.ndarray, step: int) -> None:
    row_HWC = np.concatenate(list(frames_MHWC), 1)
    if isinstance(logger, WandbLogger):
        logger.log_image("preview", [row_HWC], step=step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image("preview", row_HWC, step, dataformats="HWC")
