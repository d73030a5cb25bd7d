"""A result as a table on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.metrics.registry import REGISTRY
from eval.reporting.writers import format_value


def print_scores(result: Mapping[str, Any]) -> None:
    """Print every metric with its value, or why it has none, to standard error.

    Args:
        result: the JSON object of a result.
    """
    table = Table("metric", "value", "", title="Scores")
    for name, spec in REGISTRY.items():
        if name in result["metrics"]:
            entry = result["metrics"][name]
            table.add_row(spec.heading, format_value(name, float(entry["value"])), _beside(entry, spec.seen))
        elif name in result["missing"]:
            # The log has the whole reason.
            table.add_row(spec.title, "missing", result["missing"][name].split(": ")[0], style="dim")
    Console(stderr=True).print(table)


def _beside(entry: Mapping[str, Any], seen: str) -> str:
    found = [f"{entry['seen']:.0%} {seen}"] if "seen" in entry else []
    return "; ".join([*found, *([entry["note"]] if "note" in entry else [])])
