"""Where a run goes when nobody says."""

import datetime
import re
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.app.command_line import shared_run_dir
from src.app.entry import overrides
from src.app.sweep import in_sweep
from src.runs.settings import RunSettings


def choose_run_dir(settings: RunSettings) -> str | Path:
    """`run_dir`, or a new folder named after subject, method and time; in a sweep, the job's own folder."""
    if settings.run_dir is not None:
        return settings.run_dir
    if in_sweep():
        return Path(HydraConfig.get().runtime.output_dir)
    # To the microsecond: two that are started together are two.
    name = re.sub(r"[^\w.-]+", "-", Path(settings.subject).stem).strip("-.")[:100] or "clip"
    return Path("outputs") / f"{name}_{settings.method.name}_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def check_own(cfg: DictConfig) -> None:
    """Refuse a `run_dir` of a sweep that stands in a file, such as an experiment's, and is one for all jobs.

    Where the sweep goes over experiments, each has its own.

    Raises:
        UserError: as `check_sweep`, which looks at the command line.
    """
    if not in_sweep():
        return
    said = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(said, dict)
    run_dir = said.get("run_dir")
    if run_dir is None or "${" in str(run_dir):
        return
    for override in overrides():
        key = override.partition("=")[0].lstrip("+")
        # What a job has and the command line does not say as it stands was swept over.
        if key == "run_dir" or (key == "experiment" and override not in sys.argv):
            return
    raise shared_run_dir(str(run_dir))
