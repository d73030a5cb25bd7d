"""Paired differences of a table as forest plots: one a metric, a row a method, right of zero is better."""

import math
from dataclasses import dataclass

from eval.metrics.registry import REGISTRY
from eval.reporting.tables import Table
from eval.reporting.writers import format_difference


@dataclass(frozen=True)
class ForestRow:
    """A method's difference from the table's base.

    Attributes:
        at: of the difference along the axis, in [0, 1].
        bar: of its interval's ends, rising, or None.
        text: the numbers.
    """

    label: str
    at: float
    bar: tuple[float, float] | None
    text: str


@dataclass(frozen=True)
class Forest:
    """One metric's differences.

    Attributes:
        left, right: the ends of the axis; the right one is the better.
        zero: where no difference lies, in [0, 1].
    """

    metric: str
    left: float
    right: float
    zero: float
    rows: tuple[ForestRow, ...]


def along(value: float, left: float, right: float) -> float:
    """Where a value between the ends of an axis lies, in [0, 1] from the left; the middle where they are one."""
    return 0.5 if right == left else abs(value - left) / abs(right - left)


def forests_of(table: Table) -> tuple[Forest, ...]:
    """A plot of each metric that has paired differences; none where these are from the paper's numbers."""
    if table.against in (None, "paper"):
        return ()
    return tuple(forest for name in table.columns if (forest := _forest(table, name)) is not None)


def _forest(table: Table, metric: str) -> Forest | None:
    cells = [(row.label, row.cells[metric]) for row in table.rows if metric in row.cells]
    told = [(label, cell, cell.difference) for label, cell in cells if cell.difference is not None]
    told = [entry for entry in told if math.isfinite(entry[2])]
    if not told:
        return None
    ends = [0.0, *(end for _, cell, value in told for end in (cell.difference_interval or (value, value)))]
    low, high = min(ends), max(ends)
    left, right = (low, high) if REGISTRY[metric].higher_is_better else (high, low)
    rows = []
    for label, cell, value in told:
        between = cell.difference_interval
        bar = None if between is None else sorted(along(end, left, right) for end in between)
        rows.append(
            ForestRow(
                label,
                along(value, left, right),
                None if bar is None else (bar[0], bar[1]),
                format_difference(metric, cell),
            )
        )
    return Forest(metric, left, right, along(0.0, left, right), tuple(rows))
