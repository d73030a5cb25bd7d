"""Generate a person in other poses: one who was learnt, `python -m src.sample run=outputs/<run> poses=…`, or one of
whom there is a picture, `python -m src.sample method=magicanimate subject=me poses=dance.mp4 condition=densepose.mp4`.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

from omegaconf import DictConfig, OmegaConf

from src.app.as_in_run import GROUPS
from src.app.entry import entry, overrides, settings_of
from src.common.arrays import height_width
from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.common.typed import FileName, Raw, changed, check_range, given, setting, typed
from src.data.pose_sources import PoseSourceSettings, target_poses
from src.data.subject import check_prompt
from src.methods.settings import KINDS, AnyMethodSettings
from src.models.settings import ModelSettings, check_precision, check_scales, refuse_controlnets
from src.sampling.settings import MethodSettings, SamplingSettings

OWN = "posecrafter"


@dataclass(frozen=True, kw_only=True)
class SampleSettings(PoseSourceSettings):
    """What `conf/sample.yaml` describes, but for what it leaves as it is in the run, and for the groups.

    Attributes:
        run: folder of a fine-tuned run; null: the person is `subject`.
        subject: of a method that learns no one: an image, or what `src.train` takes, of which the first frame counts.
        condition: DensePose of the poses, for a method that follows it; of a run whose ControlNets beside the pose one
            follow images that are given, those of the poses.
        mask: of the person in the picture, for a method that takes it; null: by MediaPipe.
        prompt: target prompt p_t; null: the prompt of the fine-tune.
        seed: null: the run's, or the public code's of another method.
        output: null: `<run>/samples/<name of the poses>`, of a picture `outputs/<subject>_<method>_<name of the
            poses>`, with a number behind it where another video is there.
        audio: of a driver that is a video file: its sound under the videos, or none.
    """

    run: FileName | None = None
    subject: FileName | None = None
    condition: FileName | None = None
    mask: FileName | None = None
    prompt: Raw | None = None
    seed: int | None = None
    output: FileName | None = None
    audio: Literal["driver", "none"] = setting("driver", counts="nothing")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("seed", self.seed, least=0, most=2**31 - 1)
        check_prompt(self.prompt)


@dataclass(frozen=True, kw_only=True)
class CommandLine(SampleSettings):
    """All that the command line may hold."""

    method: AnyMethodSettings
    model: ModelSettings
    sampling: SamplingSettings


def sample(
    settings: SampleSettings, method: MethodSettings, sampling: SamplingSettings, trainer: TrainerSettings
) -> dict[str, Any]:
    """Generate the person of the run in the poses.

    Args:
        method, sampling, trainer: as in the run, or changed.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: no such run, unreadable poses, or bad settings.
    """
    from src.common.writers import check_place
    from src.runs.conditions import condition_rows, following, target_conditions
    from src.runs.person import Person
    from src.runs.run_folder import RunFolder
    from src.runs.samples import SAMPLES, own_folder, save_sample

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
        target, prompt=settings.prompt, seed=settings.seed, method=method, sampling=sampling, conditions=conditions
    )
    key = person.video_key(job, trainer)
    output = own_folder(run, settings.poses, key) if settings.output is None else RunFolder(settings.output)
    # Another process that films there is met before anything is loaded.
    output.check_place()
    _ = person.models
    with output.only_writer():
        generated = person.generate(job, trainer, output=output)
        return save_sample(
            *(output, generated, job),
            key=key,
            run=settings.run,
            poses=settings.poses,
            beside=target.beside,
            conditions=condition_rows(trained.model, conditions),
            sound=target.sound if settings.audio == "driver" else None,
        )


@entry("sample", CommandLine)
def main(cfg: DictConfig) -> None:
    """Command line."""
    from src.runs.samples import refuse_run_folder

    settings = settings_of(SampleSettings, cfg, without=(*GROUPS, "model"))
    if settings.output is not None:
        refuse_run_folder(settings.output)
    kind = OWN if OmegaConf.is_missing(cfg.method, "kind") else cfg.method.kind
    if kind == OWN:
        from src.runs.run_folder import RunFolder

        _check_own(settings)
        trained = RunFolder(str(settings.run)).settings()
        sample(settings, **{group: changed(getattr(trained, group), given(cfg[group]), group) for group in GROUPS})
        return
    if kind in KINDS and (trains := KINDS[kind].trains) is not None:
        raise UserError(f"method={kind} learns {trains} of a clip, not of a picture: python -m eval.run method={kind}")
    if settings.run is not None:
        raise UserError(f"run={settings.run}: method={kind} learns no one; give subject= in its place")
    if settings.subject is None:
        raise UserError(f"subject is not set: method={kind} takes a picture: give subject=IMAGE, a video or a subject")
    if settings.prompt is not None:
        raise UserError(f"prompt={settings.prompt}: method={kind} has no target prompt; leave it out")
    from src.methods.film import film_picture

    model = typed(ModelSettings, cfg.model, "model")
    refuse_controlnets(model, f"method={kind} has none")
    film_picture(
        settings,
        typed(cast(Any, AnyMethodSettings), cfg.method, "method"),
        subject=settings.subject,
        condition=settings.condition,
        mask=settings.mask,
        model=model,
        trainer=changed(TrainerSettings(), given(cfg.trainer), "trainer"),
        seed=settings.seed,
        output=settings.output,
        audio=settings.audio == "driver",
    )


def _check_own(settings: SampleSettings) -> None:
    """Raise a UserError where there is no run, or what goes with other methods is given."""
    if settings.run is None:
        others = " or ".join(name for name, kind in KINDS.items() if kind.trains is None)
        raise UserError(f"run is not set: give it on the command line as run=VALUE, or method={others} with subject=")
    for name in ("subject", "mask"):
        if (value := getattr(settings, name)) is not None:
            raise UserError(f"{name}={value} goes with a method that learns no one: a run has its own person")
    for override in overrides():
        if override.lstrip("+~").partition("=")[0].partition(".")[0] == "model":
            raise UserError(f"{override} goes with a method that learns no one: a run has its own model; leave it out")


if __name__ == "__main__":
    main()
