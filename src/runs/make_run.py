"""One run, from its settings to a folder: prepare, split, fine-tune, generate the held-out poses."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from src.common.digests import digest
from src.data.resolve import as_it_is, followed, resolve_subject, without_effect
from src.data.subject import Subject, check_prompt
from src.data.subject_split import SubjectSplit, split_subject
from src.media.contact_sheet import Row, evenly_spaced
from src.models.offload import check_offload
from src.models.settings import weights_identity
from src.runs.conditions import condition_rows, given_checksums, with_conditions
from src.runs.generated import Beside
from src.runs.identity import same_run
from src.runs.learn import begin, check_cache, learn
from src.runs.person import Person, untrained
from src.runs.provenance import environment, git_revision
from src.runs.run_folder import CONFIG, PREVIEW, RunFolder
from src.runs.settings import RunSettings
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.training.callbacks import Preview
from src.training.fitting import MakeLoggers, Observers

log = logging.getLogger(__name__)


def find_subject(settings: RunSettings) -> Subject:
    """Find, render or prepare the run's subject.

    Raises:
        UserError: no such subject; and all that preparing raises.
    """
    return resolve_subject(
        settings.subject,
        clip=settings.data.clip,
        root=settings.data.root,
        extractor=settings.pose.build,
        prompt=settings.prompt,
    )


def make_run(
    settings: RunSettings,
    run: RunFolder,
    *,
    loggers: MakeLoggers = tuple,
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
    _check_before(settings, run)
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
    split = with_conditions(split, subject, settings.model)
    models = untrained(settings, split.training, rendered=split.rendered)
    person = Person(settings, split.training, run, models)
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
        summary["training"] = learn(person, _observers(person, split, settings, loggers))
        if settings.sample_after_train:
            summary["sampling"] = _film(person, split, settings)
        summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment()}
        summary["git"] = git_revision()
        summary = run.save_summary(summary)
    log.info("run: %s", run.path)
    return summary


def _check_before(settings: RunSettings, run: RunFolder) -> None:
    """Refuse what needs no look at the subject, which may take minutes to prepare."""
    run.check_same_fine_tune(settings)
    if run.summary() is None:
        # What is finished may lie where nothing can be written, and be asked for where no such device is.
        run.check_place()
        check_offload(settings.model.offload, settings.trainer.check_available())
    check_cache(settings.fine_tune_cache)
    check_prompt(settings.target_prompt, "target_prompt")


def held_out_job(person: Person, split: SubjectSplit, prompt: str | None = None) -> GenerationJob:
    """What a run generates: the held-out poses, with the target prompt `prompt` or the source prompt."""
    return person.job(split.test_poses, prompt=prompt, conditions=split.test_conditions)


def _observers(person: Person, split: SubjectSplit, settings: RunSettings, loggers: MakeLoggers) -> Observers:
    """Loggers and, if they are wanted, pictures of some of the held-out poses in the course of the fine-tune."""
    preview = settings.preview
    if not preview.every_n_steps:
        return Observers(loggers=loggers)
    job = held_out_job(person, split, settings.target_prompt)
    few = job.part(evenly_spaced(len(job.target_poses), preview.num_poses))
    quick = replace(few, sampling=replace(job.sampling, num_steps=preview.num_steps, window_frames=None))
    pictures = Preview(Sampler(*person.models, [quick]), person.run.path / PREVIEW)
    return Observers(validate_every=preview.every_n_steps, callbacks=[pictures], loggers=loggers)


def _film(person: Person, split: SubjectSplit, settings: RunSettings) -> dict[str, Any]:
    """Generate the held-out poses into the run folder, the true frames beside them; returns what it cost."""
    person.run.save_held_out(split)
    clip = person.generate(held_out_job(person, split, settings.target_prompt), output=person.run)
    conditions = condition_rows(settings.model, split.test_conditions)
    person.run.save_generated(clip, Beside(frames=Row("real", split.test_frames), conditions=conditions))
    return clip.cost


def _replaced(run: RunFolder, settings: RunSettings) -> str | None:
    """What is going to be replaced of a finished run that differs in sampling alone, in words; None: nothing."""
    if not settings.sample_after_train or "sampling" not in (run.summary() or {}) or not (run.path / CONFIG).is_file():
        return None
    if (difference := same_run(run.settings(), settings, "sampling")) is None:
        return None
    key, old, new = difference
    return f"the video in {run.path} of another {key} ({old}, not {new}) is replaced; another run_dir= would keep it"
