"""`python -m src.train subject=…`: prepare, fine-tune on N frames (Sec. 4.1), generate the held-out poses."""

import logging
import shlex
from dataclasses import dataclass
from functools import partial

from omegaconf import DictConfig

from src.app.entry import entry, overrides, settings_of
from src.app.loggers import build_loggers, log_video
from src.app.repeat import repeated
from src.app.run_dir import choose_run_dir
from src.app.sweep import in_sweep
from src.common.paths import choices
from src.common.reading import read_yaml
from src.common.stopping import going_on_with
from src.common.typed import FileName, plain
from src.runs.settings import RunSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CommandLine(RunSettings):
    """All that the command line may hold; `repeat`: see `conf/train.yaml`."""

    repeat: FileName | None = None


@entry("train", CommandLine)
def main(cfg: DictConfig) -> None:
    """Command line."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from src.runs.generated import COMPARISON
    from src.runs.make_run import make_run
    from src.runs.run_folder import RunFolder

    settings = settings_of(RunSettings, cfg) if cfg.repeat is None else repeated(cfg)
    run = RunFolder(choose_run_dir(settings))
    # Loggers name code, so they come from our configs and the command line alone; their files go into the run folder.
    cfg.run_dir = run.path  # as a path, in which nothing is looked up
    logged = cfg.get("logger"), settings
    before = run.summary()
    # A folder that is called after the time is not found by the same command.
    place = None if settings.run_dir is not None or in_sweep() else shlex.quote(f"run_dir={run.path}")
    with going_on_with(place):
        summary = make_run(settings, run, loggers=partial(build_loggers, *logged), overrides=overrides())
    # What was finished before was told of then.
    if "sampling" in summary and summary != before:
        log_video("comparison", run.path / COMPARISON, *logged)
    if not in_sweep():
        told = shlex.join([f"run={run.path}", *_how_poses_are_found(settings)])
        log.info("to film other poses: python -m src.sample %s poses=<video, keypoints or pose script>", told)


def _how_poses_are_found(settings: RunSettings) -> list[str]:
    """The extractor as settings of `src.sample`, which finds the poses of a driver by it as well.

    Keypoints are those of one clip, and so is the person who was chosen of several.
    """
    own, kind = plain(settings.pose), settings.pose.kind
    if kind == "file":
        return []
    shipped = read_yaml(choices("pose")[kind])
    changed = [f"pose.{key}={value}" for key, value in own.items() if value != shipped[key] and key != "person"]
    return changed if kind == "dwpose" else [f"pose={kind}", *changed]


if __name__ == "__main__":
    main()
