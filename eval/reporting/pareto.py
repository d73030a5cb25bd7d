"""Quality against seconds: a panel a measure, and the line of those that none is both quicker and better than."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eval.metrics.registry import REGISTRY
from eval.reporting.palette import axis_title, look
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
    names = list(dict.fromkeys(point.label for panel in panels for point in panel.points))
    rows = -(-len(panels) // columns)
    # A figure without pyplot: no global state, no display.
    with atomic_path(path) as temporary, matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis, panel in zip(axes, panels, strict=False):
            _draw(axis, panel, names)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[len(panels) - columns : len(panels)]:
            axis.set_xlabel(seconds)
        _legend(figure, names)
        figure.savefig(temporary, dpi=110)
    return path


def _draw(axis: Axes, panel: Panel, names: Sequence[str]) -> None:
    best = front(panel)
    axis.plot([p.seconds for p in best], [p.value for p in best], color="#888888", linewidth=1, zorder=1)
    for point in panel.points:
        color, marker = look(names.index(point.label))
        inside = color if point in best else "none"
        ends = None if point.interval is None else np.abs(np.array(point.interval) - point.value)[:, None]
        axis.errorbar(point.seconds, point.value, ends, fmt="none", color=color, capsize=3, zorder=2)
        axis.plot(point.seconds, point.value, marker, color=color, markerfacecolor=inside, zorder=3)
    axis.set_title(axis_title(panel.title, higher_is_better=panel.higher_is_better), fontsize=9)
    if not panel.higher_is_better:
        axis.invert_yaxis()
    axis.margins(x=0.1, y=0.15)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """Below all panels: names at the points would lie on each other wherever ways cost and give alike."""
    handles = []
    for index, name in enumerate(names):
        color, marker = look(index)
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="none", label=name))
    label = "filled, on the line: none is quicker and better"
    handles.append(Line2D([], [], color="#888888", linewidth=1, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
