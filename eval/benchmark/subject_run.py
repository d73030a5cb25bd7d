"""The subjects of a benchmark: fine-tune and generate, each once for what it depends on.

Folders are named by the key of their settings and of the content of their input, so a stage is finished if its folder
says so, and methods that differ in sampling alone share a fine-tune.
"""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.pytorch.loggers import Logger

from eval.benchmark.settings import BenchmarkSettings
from src.common.errors import UserError
from src.common.typed import plain
from src.common.writers import check_place, refuse_links
from src.data.manifest import PreparedDataset
from src.data.resolve import resolve_subject
from src.data.subject_split import SubjectSplit, split_subject
from src.media.contact_sheet import Row
from src.methods.base import Method
from src.methods.material import held_out_material
from src.runs.clips import holds, write_held_out
from src.runs.generated import FRAMES, POSES, Beside
from src.runs.learn import check_cache
from src.runs.run_folder import HELD_OUT, SUMMARY, TRAINING, WRITTEN, RunFolder
from src.runs.samples import SAMPLES

log = logging.getLogger(__name__)
# Builds the loggers of a fine-tune, whose files go into the run folder that it is given.
LoggersOf = Callable[[Path], Sequence[Logger]]
# Is told whether the subject failed that has just come to its end.
TellEnd = Callable[[bool], object]


@dataclass(frozen=True)
class SubjectRun:
    """What scoring needs of a finished subject.

    Attributes:
        generated, real: folders of the frames; the same count and size.
        poses: file of the real frames' poses.
        training: folder of the training frames.
        reference: index of the reference frame among those.
        key: of the sampling.
        fine_tune, sampling: what they cost, as the summaries say.
        resize: Pillow filter by which generated frames of another size are brought to the real ones'; None: none.
        sources: where conditions and masks are from.
    """

    name: str
    generated: Path
    real: Path
    poses: Path
    training: Path
    reference: int
    key: str
    fine_tune: Mapping[str, Any]
    sampling: Mapping[str, Any]
    resize: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def check_places(settings: BenchmarkSettings) -> UserError | None:
    """Refuse folders and devices in and on which no subject can be learnt, before the first is prepared.

    Returns:
        Why nothing can be made where runs go, though what is finished there can be scored; None: it can be made.

    Raises:
        UserError: nothing can be written there, or there is no such device, and nothing is finished; or as
            `fine_tune_cache=` stands.
    """
    check_cache(settings.fine_tune_cache)
    runs = settings.runs_folder
    try:
        check_place(runs)
        settings.trainer.check_available()
    except UserError as error:
        if not any(runs.glob(f"*/{SAMPLES}/*/{SUMMARY}")):
            raise
        log.warning("%s; what is finished there is scored", error)
        return error
    return None


def run_subjects(
    prepared: PreparedDataset, run: Callable[[str], SubjectRun], ended: TellEnd
) -> tuple[list[SubjectRun], dict[str, str]]:
    """Every prepared subject through fine-tune and sampling, which `run` does of one by its name.

    Returns:
        Those that are finished, and by name why the others are not: preparation's failures too.
    """
    finished, failed = [], {name: f"prepare: {reason}" for name, reason in prepared.failed.items()}
    for number, name in enumerate(prepared.subjects, 1):
        log.info("subject %s, %d of %d", name, number, len(prepared.subjects))
        try:
            finished.append(run(name))
        except UserError as error:
            log.error("%s failed: %s", name, error)
            failed[name] = str(error)
        except Exception as error:
            # Whatever it is, hours of other subjects are not lost for it; the log keeps the traceback.
            log.exception("%s failed", name)
            failed[name] = f"{type(error).__name__}: {error}"
        ended(name in failed)
        gc.collect()
        torch.cuda.empty_cache()
    return finished, failed


def run_subject(
    name: str, settings: BenchmarkSettings, method: Method, *, loggers: LoggersOf, refused: UserError | None
) -> SubjectRun:
    """Bring a prepared subject through fine-tune and sampling, or find that this was done before.

    Args:
        refused: of `check_places`.

    Raises:
        UserError: bad settings, a subject too short for them, or one that lacks what the method needs; `refused`, of
            a subject that is not finished.
    """
    data, kind = settings.data, settings.kind
    subject = resolve_subject(name, clip=data.square_clip, root=data.root, extractor=no_extractor)
    split = split_subject(subject, data)
    beside = {"condition_root": settings.dataset.condition_root, "mask_root": settings.dataset.mask_root}
    material = held_out_material(subject, split, kind, **beside)
    keys, who = method.keys(material), settings.who()
    # Methods of one family share what is learnt.
    family = who["model"] if kind.uses is None else "-".join(filter(None, (settings.method.name, who["model"])))
    run = RunFolder(settings.runs_folder / f"{name}_{family}-{data.num_frames}_{keys.learnt[:10]}")
    samples = RunFolder(run.path / SAMPLES / f"{settings.method.name}_{keys.generated[:10]}")
    # By content: what is learnt is the same whatever the number of test frames, what is scored against is not.
    truth = run.path / f"{HELD_OUT}_{split.test_poses.sha256()[:10]}"
    # It may have come from anyone: no link in it is written through, nor read.
    refuse_links(run.path, (*WRITTEN, samples.path.relative_to(run.path), truth.name))
    record, summary = _finished(run, samples, keys.learnt, trains=kind.trains is not None)
    if record is not None and summary is not None:
        log.info("%s: fine-tuned and sampled before, in %s", name, samples.path)
    else:
        if refused is not None:
            raise refused
        method.load(material)
        # Another method may be learning the same person there.
        with run.only_writer(wait=True):
            run.save_values(method.values(name))
            run.save_training(split.training)
            record, clip = method.film(material, run, loggers=lambda: loggers(run.path))
            said = {"run": str(run.path), "poses": f"{truth.name}/{POSES}", "prompt": split.training.prompt}
            said |= {"seed": settings.seed, "method": plain(settings.method)}
            summary = samples.save_clip(clip, Beside(frames=Row("real", split.test_frames)), said)
            run.clear_unfinished()
    _keep_real(run, truth, split)
    return SubjectRun(
        name=name,
        generated=samples.path / FRAMES,
        real=truth / FRAMES,
        poses=truth / POSES,
        training=run.path / TRAINING / FRAMES,
        reference=int(summary["sampling"]["reference_frame"]),
        key=keys.generated,
        fine_tune=record,
        sampling=summary["sampling"],
        resize=getattr(settings.method, "resize", None),
        sources=material.sources,
    )


def _keep_real(run: RunFolder, truth: Path, split: SubjectSplit) -> None:
    """Write what is scored against, and of what the reference is a frame, where it is not there as it was."""
    if not holds(truth, split.test_frames, split.test_poses):
        with run.only_writer(wait=True):
            write_held_out(truth, split)
    if not holds(run.path / TRAINING, split.training.frames, split.training.poses):
        with run.only_writer(wait=True):
            run.save_training(split.training)


def _finished(
    run: RunFolder, samples: RunFolder, key: str, *, trains: bool
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The record of the fine-tune and the summary of the sampling, each where it is finished and whole."""
    summary = samples.summary()
    if summary is not None and not (isinstance(summary.get("sampling"), dict) and samples.is_whole(summary)):
        summary = None
    return (run.fine_tune_record(key) if trains else {}), summary


def no_extractor() -> NoReturn:
    raise AssertionError("a prepared subject has its poses")
