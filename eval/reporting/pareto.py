"""Quality against seconds: a panel a measure, and the line of those that none is both quicker and better than."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.metrics.registry import REGISTRY
from eval.reporting.results import Result
from src.common.atomic import atomic_path

# Seconds as runs took them vary by some tenths with what else a machine does.
SPREAD = 1.5
COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """What one way costs and gives.

    Attributes:
        seconds: above 0.
        interval: of the value, or None.
    """

    label: str
    seconds: float
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """Points of one measure, finite."""

    title: str
    points: tuple[Point, ...]
    higher_is_better: bool = True


def front(panel: Panel) -> list[Point]:
    """The points that no other is both as quick as and better than, the quickest first."""
    sign = 1 if panel.higher_is_better else -1
    kept: list[Point] = []
    for point in sorted(panel.points, key=lambda point: (point.seconds, -sign * point.value)):
        if not kept or sign * point.value > sign * kept[-1].value:
            kept.append(point)
    return kept


def panels_of(results: Sequence[Result]) -> list[Panel]:
    """A panel a metric, of a subject's mean seconds of sampling.

    None of them where a result does not say its seconds, or where the slowest takes less than `SPREAD` times the
    quickest's.
    """
    seconds = [result.seconds.get("sample") or 0.0 for result in results]
    if min(seconds) <= 0 or max(seconds) < SPREAD * min(seconds):
        return []
    panels = []
    for name, spec in REGISTRY.items():
        points = tuple(
            Point(result.label, took, result.metrics[name]["value"], result.interval(name))
            for result, took in zip(results, seconds, strict=True)
            if name in result.metrics and np.isfinite(result.metrics[name]["value"])
        )
        if len(points) > 1:
            panels.append(Panel(spec.title, points, spec.higher_is_better))
    return panels


def write_pareto(panels: Sequence[Panel], path: Path, *, seconds: str, columns: int = COLUMNS) -> Path:
    """Write the panels as one picture, up is better.

    Args:
        panels: one at least.
        seconds: what the axis counts.
        columns: panels in a row at most.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    # A figure without pyplot: no global state, no display.
    with atomic_path(path) as temporary, matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis, panel in zip(axes, panels, strict=False):
            _draw(axis, panel)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[len(panels) - columns : len(panels)]:
            axis.set_xlabel(seconds)
        figure.savefig(temporary, dpi=110)
    return path


def _draw(axis: Axes, panel: Panel) -> None:
    best = front(panel)
    axis.plot([p.seconds for p in best], [p.value for p in best], color="#0072b2", linewidth=1, zorder=1)
    for point in panel.points:
        color = "#0072b2" if point in best else "#888888"
        spread = np.abs(np.array(point.interval or (point.value, point.value)) - point.value)
        axis.errorbar(point.seconds, point.value, spread[:, None], fmt="o", color=color, capsize=3, zorder=2)
        axis.annotate(point.label, (point.seconds, point.value), (6, 3), textcoords="offset points", fontsize=7)
    axis.set_title(f"{panel.title} (up is better)", fontsize=9)
    if not panel.higher_is_better:
        axis.invert_yaxis()
    axis.margins(x=0.3, y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
