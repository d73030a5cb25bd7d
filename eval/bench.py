"""`python -m eval.bench`: how long scoring takes beside the networks' own forward passes."""

import json
import sys

from omegaconf import DictConfig

from eval.benchmark.scoring_time import TimingSettings, measure
from src.app.entry import entry, settings_of


@entry("score_bench", TimingSettings)
def main(cfg: DictConfig) -> None:
    """Print the figures as JSON."""
    settings = settings_of(TimingSettings, cfg)
    sys.stdout.write(json.dumps(measure(settings, settings.pose.build()), indent=2) + "\n")


if __name__ == "__main__":
    main()
