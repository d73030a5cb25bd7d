"""A person who was learnt and poses in, a video out."""

from typing import Any

from src.common.arrays import height_width
from src.common.trainer import TrainerSettings
from src.common.writers import check_place
from src.data.pose_sources import target_poses
from src.models.settings import check_precision, check_scales
from src.runs.conditions import condition_rows, following, target_conditions
from src.runs.generated import Beside
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.runs.sample_settings import SampleSettings
from src.runs.samples import SAMPLES, own_folder, save_sample
from src.sampling.settings import MethodSettings, SamplingSettings


def film_person(
    settings: SampleSettings, method: MethodSettings, sampling: SamplingSettings, trainer: TrainerSettings
) -> dict[str, Any]:
    """Generate the person of the run in the poses, and write the video.

    Args:
        method, sampling, trainer: as in the run, or changed.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: no such run, unreadable poses, or bad settings.
    """
    assert settings.run is not None, "a person who was learnt"
    run = RunFolder(settings.run)
    person = Person.read(run)
    trained, clip = person.settings, person.clip
    if settings.output is None:
        check_place(run.path / SAMPLES)
    else:
        RunFolder(settings.output).check_place()
    check_precision(trained.model.dtype, trainer.precision)
    trainer.check_available()
    check_scales(trained.model, sampling.controlnet_scales)
    source, size = following(settings, trained.model, sampling), height_width(clip.frames)
    target = target_poses(source, size=size, fps=clip.fps, training=clip.poses, clip=clip.source)
    conditions = target_conditions(trained.model, sampling, target, size=size, condition=settings.condition)
    job = person.job(
        target.poses,
        fps=target.fps,
        prompt=settings.prompt,
        seed=settings.seed,
        method=method,
        sampling=sampling,
        conditions=conditions,
    )
    key = person.video_key(job, trainer)
    output = own_folder(run, settings.poses, key) if settings.output is None else RunFolder(settings.output)
    # Another process that films there is met before anything is loaded.
    output.check_place()
    _ = person.models
    with output.only_writer():
        generated = person.generate(job, trainer, output=output)
        beside = Beside(
            frames=target.beside,
            conditions=condition_rows(trained.model, conditions),
            sound=target.sound if settings.audio == "driver" else None,
        )
        return save_sample(output, generated, job, beside, run=settings.run, poses=settings.poses, key=key)
