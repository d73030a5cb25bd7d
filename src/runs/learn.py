"""A fine-tune that is made once: found in the run folder or the cache, or made and kept in both."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from src.common.atomic import atomic_path
from src.common.errors import ResourceError
from src.common.typed import plain
from src.common.writers import only_writer
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.runs.identity import fine_tune_key
from src.runs.run_folder import ADAPTER, CHECKPOINTS, FINE_TUNE_RECORD, RunFolder
from src.runs.settings import LearningSettings
from src.training.fine_tune import FineTuneJob, fine_tune

log = logging.getLogger(__name__)


def learn(
    run: RunFolder,
    settings: LearningSettings,
    clip: TrainingClip,
    image_model: ImageModel,
    backbone: VideoBackbone,
    *,
    validate_every: int | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Callable[[], Sequence[Logger]] = tuple,
) -> dict[str, Any]:
    """Bring the backbone to what the fine-tune of this clip makes of it, and leave its adapter in the run folder.

    A fine-tune that was stopped goes on from its last checkpoint. A finished one is loaded, from the run folder or,
    where `settings.fine_tune_cache` holds one of the same frames, weights and settings, from there.

    Args:
        run: held by `only_writer`.
        validate_every: steps between two validations; None: none.
        callbacks, loggers: of a fine-tune that is made; loggers are built only then.

    Returns:
        The record of what it cost, or had cost.
    """
    key, cache = fine_tune_key(settings, clip), None
    if settings.fine_tune_cache is not None:
        cache = RunFolder(Path(settings.fine_tune_cache) / key[:24])
    run.save_training(clip)
    for known in filter(None, (run, cache)):
        if (record := known.fine_tune_record(key)) is None:
            continue
        known.load_adapter(backbone, base=image_model.base, additions=image_model.additions)
        log.info("fine-tuned already: the adapter in %s is used", known.path)
        _copy(known, run)
        break
    else:
        job = FineTuneJob(
            clip=clip,
            batch_frames=settings.data.batch_frames,
            optimizer=settings.optimizer,
            trainer=settings.trainer,
            seed=settings.seed,
            gradient_checkpointing=settings.model.gradient_checkpointing,
            validate_every=validate_every,
            checkpoint_every=settings.checkpoint_every_n_steps,
        )
        checkpoints = run.path / CHECKPOINTS
        record = fine_tune(job, image_model, backbone, checkpoints=checkpoints, callbacks=callbacks, loggers=loggers())
        record = run.save_fine_tune(
            backbone,
            record,
            key=key,
            base=image_model.base,
            additions=image_model.additions,
            config=plain(settings.model),
        )
    # Behind the record: a run that is killed between the two trains no step again.
    shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)
    if cache is not None:
        try:
            with only_writer(cache.path, wait=True):
                _copy(run, cache)
        except ResourceError as error:
            log.warning("the fine-tune is not kept for other runs: %s", error)
    return record


def _copy(source: RunFolder, target: RunFolder) -> None:
    """Adapter and record of a finished fine-tune to where no whole one is; the record last."""
    if source.path == target.path or target.fine_tune_record() is not None:
        return
    for name in (ADAPTER, FINE_TUNE_RECORD):
        with atomic_path(target.path / name) as temporary:
            shutil.copyfile(source.path / name, temporary)
