"""One run, from its settings to a folder: prepare, split, fine-tune, generate the held-out poses."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch.loggers import Logger

from src.common.arrays import height_width
from src.common.digests import digest
from src.data.resolve import as_it_is, followed, resolve_subject, without_effect
from src.data.subject import Subject, check_prompt
from src.data.subject_split import SubjectSplit, split_subject
from src.media.contact_sheet import Row, evenly_spaced
from src.models.backbone import VideoBackbone
from src.models.build import build_models
from src.models.image_model import ImageModel
from src.models.offload import check_offload
from src.models.settings import model_warning, weights_identity
from src.runs.conditions import condition_rows, given_checksums, with_conditions
from src.runs.generated import Beside
from src.runs.identity import same_run
from src.runs.keeping import keep_in
from src.runs.learn import begin, check_cache, learn
from src.runs.provenance import environment, git_revision
from src.runs.run_folder import CONFIG, PREVIEW, RunFolder
from src.runs.settings import RunSettings
from src.sampling.generate import generate
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.training.callbacks import Preview

log = logging.getLogger(__name__)


def find_subject(settings: RunSettings) -> Subject:
    """Find, render or prepare the run's subject.

    Raises:
        UserError: no such subject; and all that preparing raises.
    """
    return resolve_subject(
        settings.subject,
        settings=settings.data.clip,
        root=settings.data.root,
        extractor=settings.pose.build,
        prompt=settings.prompt,
    )


def make_run(
    settings: RunSettings,
    run: RunFolder,
    *,
    loggers: Callable[[], Sequence[Logger]] = tuple,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Bring a run to its end, or find that it is finished.

    Args:
        run: its folder.
        loggers: builds those of the fine-tune.
        overrides: what the command line said, for the record.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad settings or input, or another process is at work in the run folder; nothing is written then.
    """
    started = time.perf_counter()
    run.check_same_fine_tune(settings)
    if run.summary() is None:
        # What is finished may lie where nothing can be written, and be asked for where no such device is.
        run.check_place()
        check_offload(settings.model.offload, settings.trainer.check_available())
    check_cache(settings.fine_tune_cache)
    check_prompt(settings.target_prompt, "target_prompt")
    subject = find_subject(settings)
    known = f"the subject {subject.name}, {as_it_is(subject)}"
    if warning := without_effect(settings.data, followed(settings.data, subject), known):
        log.warning("%s", warning)
    split = split_subject(subject, settings.data)
    inputs = split.checksums() | given_checksums(settings.model)
    inputs |= {"weights": digest(weights_identity(settings.model)), "prompt": split.training.prompt}
    if (finished := run.finished(settings, inputs)) is not None:
        log.info("finished before: %s", run.path)
        return finished
    run.check_place()
    if warning := _replaced(run, settings):
        log.warning("%s", warning)
    if warning := model_warning(settings.model, rendered=split.rendered):
        log.warning("%s", warning)
    split = with_conditions(split, subject, settings.model)
    image_model, backbone = build_models(settings.model)
    image_model.check_resolution(*sorted(height_width(split.training.frames)))
    check_offload(settings.model.offload, settings.trainer.check_available())
    job = held_out_job(settings, split)
    callbacks = _previews(settings, run, job, image_model, backbone)
    summary: dict[str, Any] = {
        "subject": split.name,
        "overrides": list(overrides),
        "model": settings.model.name,
        "method": settings.method.name,
        "seed": settings.seed,
        "prompt": split.training.prompt,
        "training_frames": split.training_indices,
        "test_frames": split.test_indices,
        "inputs": inputs,
    }
    with run.only_writer():
        begin(run, settings, split.training)
        summary["training"] = learn(
            *(run, settings, split.training, image_model, backbone),
            validate_every=settings.preview.every_n_steps or None,
            callbacks=callbacks,
            loggers=loggers,
        )
        if settings.sample_after_train:
            run.save_held_out(split)
            keep = keep_in(run, settings, job, settings.trainer, backbone)
            clip = generate(job, image_model, backbone, settings.trainer, keep=keep)
            rows = condition_rows(settings.model, split.test_conditions)
            run.save_generated(clip, Beside(frames=Row("real", split.test_frames), conditions=rows))
            summary["sampling"] = clip.cost
        summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment()}
        summary["git"] = git_revision()
        summary = run.save_summary(summary)
    log.info("run: %s", run.path)
    return summary


def _previews(
    settings: RunSettings, run: RunFolder, job: GenerationJob, image_model: ImageModel, backbone: VideoBackbone
) -> list[Preview]:
    """Pictures of some of the job's poses in the course of the fine-tune, if they are wanted."""
    if not settings.preview.every_n_steps:
        return []
    few = job.part(evenly_spaced(len(job.target_poses), settings.preview.num_poses))
    quick = replace(job.sampling, num_steps=settings.preview.num_steps, window_frames=None)
    return [Preview(Sampler(image_model, backbone, [replace(few, sampling=quick)]), run.path / PREVIEW)]


def _replaced(run: RunFolder, settings: RunSettings) -> str | None:
    """What is going to be replaced of a finished run that differs in sampling alone, in words; None: nothing."""
    if not settings.sample_after_train or "sampling" not in (run.summary() or {}) or not (run.path / CONFIG).is_file():
        return None
    if (difference := same_run(run.settings(), settings, "sampling")) is None:
        return None
    key, old, new = difference
    return f"the video in {run.path} of another {key} ({old}, not {new}) is replaced; another run_dir= would keep it"


def held_out_job(settings: RunSettings, split: SubjectSplit) -> GenerationJob:
    """What the run generates: the held-out poses."""
    return GenerationJob(
        clip=split.training,
        target_poses=split.test_poses,
        target_prompt=settings.target_prompt or split.training.prompt,
        method=settings.method,
        sampling=settings.sampling,
        seed=settings.seed,
        fps=split.training.fps,
        target_conditions=split.test_conditions,
    )
