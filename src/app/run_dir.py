"""Where a run goes when nobody says."""

import datetime
import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

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
