"""A fine-tune that is made once: found in the run folder or the cache, or made and kept in both."""

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.atomic import atomic_path
from src.common.errors import ResourceError, in_one_line
from src.common.files import read_record, write_json
from src.common.typed import plain
from src.common.writers import only_writer, refuse_links
from src.data.subject_split import TrainingClip
from src.models.adapter import check_size, load_adapter, save_adapter
from src.runs.identity import fine_tune_key
from src.runs.person import Person
from src.runs.run_folder import ADAPTER, CHECKPOINTS, FINE_TUNE_RECORD, RunFolder
from src.runs.settings import RunSettings
from src.training.fine_tune import FineTuneJob, fine_tune
from src.training.fitting import NOBODY, Observers

log = logging.getLogger(__name__)
CHECKPOINT_RECORD = "checkpoint.json"  # says which fine-tune the checkpoints are of


@dataclass(frozen=True)
class Lesson:
    """A fine-tune of whatever model, as far as folders are concerned.

    Attributes:
        key: of everything that it depends on; equal keys are equal fine-tunes.
        train: trains the model in place, with the folder of its checkpoints; returns the record of what it cost.
        save, load: what was trained to a file of tensors, and from there into the model.
    """

    key: str
    train: Callable[[Path], Mapping[str, Any]]
    save: Callable[[Path], None]
    load: Callable[[Path], None]


def check_cache(cache: str | None) -> None:
    """Refuse a cache of fine-tunes whose name no folder can have, or a file has, before there is anything to write.

    One that cannot be written is no reason: what is in it can be used.

    Raises:
        ResourceError: as `fine_tune_cache=` stands.
    """
    if cache is not None:
        with in_one_line(cache, "read"), contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(cache).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def begin(run: RunFolder, settings: RunSettings, clip: TrainingClip) -> None:
    """Write the settings of a run that is not finished, which a summary of before then says nothing of.

    Args:
        run: held by `only_writer`.

    Raises:
        UserError: what was learnt there is of another clip; nothing is written then.
    """
    run.check_fine_tune(fine_tune_key(settings, clip))
    run.forget_summary()
    run.save_settings(settings)


def learn_once(run: RunFolder, lesson: Lesson, *, cache: str | None) -> dict[str, Any]:
    """Bring a model to what a fine-tune makes of it, and leave what was trained in the run folder.

    A fine-tune that was stopped goes on from its last checkpoint. A finished one is loaded, from the run folder or,
    where the cache holds one of the same key, from there.

    Args:
        run: held by `only_writer`.
        cache: folder of finished fine-tunes; None: none.

    Returns:
        The record of what it cost, or had cost.

    Raises:
        UserError: the place in the cache is a link, or holds one that leads out of the cache.
    """
    kept = None if cache is None else RunFolder(Path(cache) / lesson.key[:24])
    if kept is not None:
        # It may be shared: no link in it is written through, nor read.
        refuse_links(kept.path.parent, [kept.path.name])
    for known in filter(None, (run, kept)):
        if (record := known.fine_tune_record(lesson.key)) is None:
            continue
        lesson.load(known.path / ADAPTER)
        log.info("fine-tuned already: the adapter in %s is used", known.path)
        _copy(known, run)
        break
    else:
        cost = lesson.train(_checkpoints(run, lesson.key))
        record = run.save_fine_tune(lesson.save, cost, key=lesson.key)
    # Behind the record: a run that is killed between the two trains no step again.
    shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)
    if kept is not None:
        try:
            with only_writer(kept.path, wait=True):
                _copy(run, kept)
        except ResourceError as error:
            log.warning("the fine-tune is not kept for other runs: %s", error)
    return record


def learn(person: Person, observers: Observers = NOBODY) -> dict[str, Any]:
    """Bring the person's backbone to what the one-shot fine-tune of the clip makes of it; see `learn_once`.

    Args:
        person: whose run is held by `only_writer`.
        observers: of a fine-tune that is made.

    Returns:
        The record of what it cost, or had cost.

    Raises:
        UserError: it would train more than an adapter holds, or as of `learn_once`.
    """
    settings, clip, (image_model, backbone) = person.settings, person.clip, person.models
    check_size(backbone)
    origin = {"base": image_model.base, "additions": image_model.additions}

    def train(checkpoints: Path) -> dict[str, Any]:
        job = FineTuneJob(
            clip=clip,
            batch_frames=settings.data.batch_frames,
            optimizer=settings.optimizer,
            trainer=settings.trainer,
            seed=settings.seed,
            gradient_checkpointing=settings.model.gradient_checkpointing,
            checkpoint_every=settings.checkpoint_every_n_steps,
        )
        return fine_tune(job, image_model, backbone, checkpoints=checkpoints, observers=observers)

    def save(path: Path) -> None:
        save_adapter(path, backbone, **origin, config=plain(settings.model))

    def load(path: Path) -> None:
        load_adapter(path, backbone, **origin)

    person.run.save_training(clip)
    lesson = Lesson(fine_tune_key(settings, clip), train, save, load)
    return learn_once(person.run, lesson, cache=settings.fine_tune_cache)


def _checkpoints(run: RunFolder, key: str) -> Path:
    """The folder of the checkpoints of one fine-tune; what lies there of another one is removed."""
    folder = run.path / CHECKPOINTS
    if (read_record(folder / CHECKPOINT_RECORD) or {}).get("key") != key:
        if folder.exists():
            log.warning("%s is of other frames, poses or weights: the fine-tune begins anew", folder)
            shutil.rmtree(folder)
        write_json(folder / CHECKPOINT_RECORD, {"key": key})
    return folder


def _copy(source: RunFolder, target: RunFolder) -> None:
    """Adapter and record of a finished fine-tune to where no whole one is; the record last."""
    if source.path == target.path or target.fine_tune_record() is not None:
        return
    for name in (ADAPTER, FINE_TUNE_RECORD):
        with atomic_path(target.path / name) as temporary:
            shutil.copyfile(source.path / name, temporary)
