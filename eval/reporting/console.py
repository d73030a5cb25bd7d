"""A result as a table on the terminal."""

import re
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.metrics.registry import REGISTRY
from eval.reporting.results import some_clips
from eval.reporting.writers import format_value

# What clip and which side of it a reason is about.
_PLACE = re.compile(r"(clip|(real|generated) frames of|reference image of) ")
SHORT = 70


def print_scores(result: Mapping[str, Any]) -> None:
    """Print every metric with its value, or why it has none, to standard error.

    Args:
        result: the JSON object of a result.
    """
    table = Table("metric", "value", "", title="Scores")
    for name, spec in REGISTRY.items():
        if name in result["metrics"]:
            entry = result["metrics"][name]
            beside = _beside(entry, spec.seen, some_clips(result["clips"], name))
            table.add_row(spec.heading, format_value(name, float(entry["value"])), beside)
        elif name in result["missing"]:
            cause = _cause(result["missing"][name], clips=len(result["clips"]))
            table.add_row(spec.title, "missing", cause, style="dim")
    Console(stderr=True).print(table)


def _cause(reason: str, *, clips: int) -> str:
    """The last cause of a reason, and of several clips in which it was met; the log has the whole."""
    parts = reason.split(": ")
    where = f"{parts[0]}: " if clips > 1 and parts[0].startswith("clip ") else ""
    while len(parts) > 1 and _PLACE.match(parts[0]):
        parts = parts[1:]
    whole = ": ".join(parts)
    return where + (whole if len(whole) <= SHORT else parts[0])


def _beside(entry: Mapping[str, Any], seen: str | None, clips: str | None) -> str:
    found = [f"{entry['seen']:.0%} {seen}"] if "seen" in entry and seen else []
    return "; ".join([*found, *filter(None, [clips]), *([entry["note"]] if "note" in entry else [])])
