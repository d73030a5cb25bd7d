"""What is written of the metrics is what the registry has."""

import re

from eval.metrics.registry import REGISTRY
from tests.conftest import ROOT

BETTER = {"high": True, "low": False}


def test_the_readme_lists_every_metric_with_its_direction() -> None:
    """In `key`, or behind another of its family `-part`."""
    table = re.findall(r"^\| (`[a-z].*?) \| .*? \| (high|low) \|", (ROOT / "eval/metrics/README.md").read_text(), re.M)
    listed = {}
    for names, better in table:
        first, *others = re.findall(r"`([^`]+)`", names)
        family = first.rpartition("-")[0]
        keys = [first, *(f"{family}{name}" if name.startswith("-") else name for name in others)]
        listed |= dict.fromkeys(keys, BETTER[better])
    assert listed == {key: spec.higher_is_better for key, spec in REGISTRY.items()}
