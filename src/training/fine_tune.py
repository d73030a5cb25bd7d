"""The one-shot fine-tune (Sec. 4.1): from a training clip to a backbone that knows the person, in memory."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from src.common.checkpoints import usable
from src.common.errors import UserError
from src.common.measure import peak_memory_gib
from src.common.stopping import Stopped, deferred
from src.common.trainer import TrainerSettings
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.models.settings import GradientCheckpointing
from src.training.callbacks import FineTuneProgress, StepTimer, StopWithCheckpoint
from src.training.data_module import OneShotDataModule, encode_clip
from src.training.one_shot_module import OneShotModule
from src.training.settings import OptimizerSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FineTuneJob:
    """What is learnt, and how.

    Attributes:
        clip: the N training frames, their poses and the source prompt.
        batch_frames: n, frames of a step.
        optimizer, trainer: settings.
        gradient_checkpointing: as of `ModelSettings`.
        seed: of frames, timesteps and noise.
        validate_every: steps between two validations, with which previews come; None: none.
        checkpoint_every: steps between two checkpoints.
    """

    clip: TrainingClip
    batch_frames: int
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    seed: int
    gradient_checkpointing: GradientCheckpointing = "auto"
    validate_every: int | None = None
    checkpoint_every: int = 50


def fine_tune(
    job: FineTuneJob,
    image_model: ImageModel,
    backbone: VideoBackbone,
    *,
    checkpoints: Path | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> dict[str, Any]:
    """Train the backbone on the clip, in place.

    Args:
        checkpoints: folder of the checkpoint `last.ckpt`; a fine-tune that was stopped goes on from the one there with
            the same next loss. None: none are kept.
        callbacks, loggers: Lightning's, beside those for cost, bar and checkpoints.

    Returns:
        The record of what it cost, as `fine_tune.json` holds it.

    Raises:
        UserError: the loss is not finite, or the time limit came before the last step.
        Stopped: on request, after a checkpoint.
    """
    lightning.seed_everything(job.seed, verbose=False)
    timer = StepTimer()
    own: list[Callback] = [timer, FineTuneProgress()]
    last = None if checkpoints is None else checkpoints / "last.ckpt"
    if last is not None:
        own += [
            ModelCheckpoint(last.parent, save_last=True, save_top_k=0, every_n_train_steps=job.checkpoint_every),
            StopWithCheckpoint(last),
        ]
    trainer = job.trainer.build(
        folder=checkpoints,
        logger=list(loggers) or False,
        callbacks=[*own, *callbacks],
        enable_checkpointing=last is not None,
        num_sanity_val_steps=0,
        val_check_interval=job.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=None if job.validate_every else 0,
    )
    clip = encode_clip(image_model, job.clip, trainer.strategy.root_device)
    num_timesteps = image_model.scheduler.config["num_train_timesteps"]
    data = OneShotDataModule(clip, batch_frames=job.batch_frames, num_timesteps=num_timesteps, seed=job.seed)
    module = OneShotModule(
        *(backbone, image_model.scheduler, job.optimizer), gradient_checkpointing=job.gradient_checkpointing
    )
    resume = None if last is None else usable(last)
    if resume is not None:
        log.info("going on from %s", resume)
    started = time.perf_counter()
    with deferred():
        try:
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        except SIGTERMException as error:
            raise Stopped(15) from error
    return _record(job, trainer, timer, backbone, seconds=time.perf_counter() - started)


def _record(
    job: FineTuneJob, trainer: lightning.Trainer, timer: StepTimer, backbone: VideoBackbone, *, seconds: float
) -> dict[str, Any]:
    steps, wanted = trainer.global_step, job.trainer.max_steps
    if steps < wanted:
        raise UserError(
            f"the fine-tune stopped at step {steps} of {wanted} (trainer.max_time={job.trainer.max_time}): give the "
            "same command again to go on"
        )
    if timer.loss is not None and not math.isfinite(timer.loss):
        raise UserError(f"the loss was {timer.loss} at the last step: the fine-tune has diverged; lower optimizer.lr")
    device = str(trainer.strategy.root_device)
    return {
        "steps": steps,
        "loss": timer.loss,
        "seconds": round(seconds, 3),
        "seconds_per_step": timer.seconds_per_step,
        "peak_memory_gib": round(peak_memory_gib(device), 3),
        "trained_parameters": backbone.num_trainable(),
        "device": device,
        "precision": job.trainer.precision,
    }
