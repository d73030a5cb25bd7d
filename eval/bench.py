"""`python -m eval.bench`: how long scoring takes beside the networks' own forward passes."""

import json
import sys

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from eval.benchmark.scoring_time import TimingSettings, measure
from src.app.entry import entry
from src.common.typed import typed


@entry("score_bench")
def main(cfg: DictConfig) -> None:
    """Print the figures as JSON."""
    settings = typed(TimingSettings, OmegaConf.masked_copy(cfg, [key for key in cfg if key != "pose"]))
    sys.stdout.write(json.dumps(measure(settings, instantiate(cfg.pose)), indent=2) + "\n")


if __name__ == "__main__":
    main()
