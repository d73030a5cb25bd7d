"""`python -m eval.known_truth`: how each metric answers to damage of known size, on rendered people."""

import sys

from omegaconf import DictConfig

from eval.benchmark.known_truth import KnownTruthSettings, agreement, as_markdown
from src.app.entry import entry, settings_of


@entry("known_truth", KnownTruthSettings)
def main(cfg: DictConfig) -> None:
    """Print the table of `eval/metrics/README.md` as Markdown, and what it is of."""
    settings = settings_of(KnownTruthSettings, cfg)
    table = agreement(settings, settings.open(settings.pose.build()))
    sys.stdout.write(f"{as_markdown(table)}\n{settings.caption()}\n")


if __name__ == "__main__":
    main()
