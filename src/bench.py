"""`python -m src.bench model=sd15`: seconds and peak memory of training and sampling steps, counted operations."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.benchmarking.settings import BenchSettings
from src.common.files import write_json


@entry("bench", BenchSettings)
def main(cfg: DictConfig) -> None:
    """Print the figures as JSON."""
    settings = settings_of(BenchSettings, cfg)
    figures = _figures(settings)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if settings.output is not None:
        write_json(Path(settings.output), figures)


def _figures(settings: BenchSettings) -> dict[str, Any]:
    if settings.system != "ours":
        from src.benchmarking.other_systems import measure_other

        return measure_other(settings.system, settings.model, settings.trainer, resolution=settings.data.resolution)
    from src.benchmarking.measure import bench

    return bench(settings)


if __name__ == "__main__":
    main()
