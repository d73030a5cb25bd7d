"""`python -m src.sample run=outputs/<run> poses=…`: generate a person who was learnt in other poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from src.app.as_in_run import GROUPS, given, offer_groups
from src.app.entry import entry, settings_of
from src.common.trainer import TrainerSettings
from src.common.typed import FileName, Raw, changed, check_range, setting
from src.data.pose_sources import PoseSourceSettings, target_poses
from src.models.settings import check_precision
from src.sampling.settings import MethodSettings, SamplingSettings

offer_groups()


@dataclass(frozen=True, kw_only=True)
class SampleSettings(PoseSourceSettings):
    """What `conf/sample.yaml` describes, but for what it leaves as it is in the run.

    Attributes:
        run: folder of a fine-tuned run.
        prompt: target prompt p_t; null: the prompt of the fine-tune.
        seed: null: the run's.
        output: null: `<run>/samples/<name of the poses>`.
        audio: of a driver that is a video file: its sound under the videos, or none.
    """

    run: FileName
    prompt: Raw | None = None
    seed: int | None = None
    output: FileName | None = None
    audio: Literal["driver", "none"] = setting("driver", counts="nothing")

    def __post_init__(self) -> None:
        check_range("seed", self.seed, least=0, most=2**31 - 1)


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
    from src.runs.person import Person
    from src.runs.run_folder import RunFolder

    run = RunFolder(settings.run)
    trained, clip = run.settings(), run.training()
    check_precision(trained.model.dtype, trainer.precision)
    target = target_poses(
        settings, resolution=clip.frames.shape[1], fps=clip.fps, training=clip.poses, subject=trained.subject
    )
    default = run.path / "samples" / Path(settings.poses).stem
    output = RunFolder(default if settings.output is None else settings.output)
    person = Person.load(run)
    job = person.job(target, prompt=settings.prompt, seed=settings.seed, method=method, sampling=sampling)
    with output.only_writer():
        generated = person.generate(job, trainer)
        return output.save_sample(
            *(generated, job),
            run=settings.run,
            poses=settings.poses,
            beside=target.beside,
            sound=target.sound if settings.audio == "driver" else None,
        )


@entry("sample", SampleSettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    settings = settings_of(SampleSettings, cfg, without=GROUPS)
    from src.runs.run_folder import RunFolder

    trained = RunFolder(settings.run).settings()
    sample(settings, *(changed(getattr(trained, group), given(cfg[group]), group) for group in GROUPS))


if __name__ == "__main__":
    main()
