"""One subject of a benchmark: fine-tune and generate, each once for what it depends on.

Folders are named by the key of their settings and of the content of their input, so a stage is finished if its folder
says so, and methods that differ in sampling alone share a fine-tune.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.loggers import Logger

from eval.benchmark.settings import BenchmarkSettings
from src.data.resolve import resolve_subject
from src.data.subject_split import split_subject
from src.media.contact_sheet import Row
from src.models.build import build_models
from src.models.settings import model_warning
from src.runs.identity import fine_tune_key, generation_key
from src.runs.learn import learn
from src.runs.make_run import held_out_job
from src.runs.run_folder import FRAMES, HELD_OUT, POSES, TRAINING, RunFolder
from src.sampling.generate import generate

log = logging.getLogger(__name__)
# Builds the loggers of a fine-tune, whose files go into the run folder.
MakeLoggers = Callable[[Path], Sequence[Logger]]


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


def run_subject(name: str, settings: BenchmarkSettings, runs: Path, *, loggers: MakeLoggers) -> SubjectRun:
    """Bring a prepared subject through fine-tune and sampling, or find that this was done before.

    Args:
        runs: where runs are kept.

    Raises:
        UserError: bad settings, or a subject too short for them.
    """
    own, data = settings.run(name), settings.data
    subject = resolve_subject(name, settings=data.clip, root=data.root, extractor=no_extractor)
    split = split_subject(subject, data)
    job = held_out_job(own, split)
    fine_tuned = fine_tune_key(own, split.training)
    key = generation_key(own, split.training, split.checksums() | {"prompt": job.target_prompt})
    run = RunFolder(runs / f"{name}_{own.model.name}-{data.num_frames}_{fine_tuned[:10]}")
    samples = RunFolder(run.path / "samples" / f"{own.method.name}_{key[:10]}")
    record, summary = _finished(run, samples, fine_tuned)
    if record is not None and summary is not None:
        log.info("%s: fine-tuned and sampled before, in %s", name, samples.path)
    else:
        if warning := model_warning(own.model, rendered=split.rendered):
            log.warning("%s", warning)
        image_model, backbone = build_models(own.model)
        image_model.check_resolution(data.resolution)
        # Another method may be learning the same person there.
        with run.only_writer(wait=True):
            run.save_settings(own)
            record = learn(run, own, split.training, image_model, backbone, loggers=lambda: loggers(run.path))
            run.save_held_out(split)
            clip = generate(job, image_model, backbone, own.trainer)
            real = Row("real", split.test_frames)
            summary = samples.save_sample(clip, job, run=str(run.path), poses=f"{HELD_OUT}/{POSES}", beside=real)
    return SubjectRun(
        name=name,
        generated=samples.path / FRAMES,
        real=run.path / HELD_OUT / FRAMES,
        poses=run.path / HELD_OUT / POSES,
        training=run.path / TRAINING / FRAMES,
        reference=int(summary["sampling"]["reference_frame"]),
        key=key,
        fine_tune=record,
        sampling=summary["sampling"],
    )


def _finished(
    run: RunFolder, samples: RunFolder, key: str
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The record of the fine-tune and the summary of the sampling, each where it is finished and whole."""
    summary = samples.summary()
    if summary is not None and not (isinstance(summary.get("sampling"), dict) and samples.is_whole(summary)):
        summary = None
    there = (run.path / HELD_OUT).is_dir() and (run.path / TRAINING).is_dir()
    return (run.fine_tune_record(key) if there else None), summary


def no_extractor() -> NoReturn:
    raise AssertionError("a prepared subject has its poses")
