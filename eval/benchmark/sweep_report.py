"""Pictures and W&B view of a sweep: an image grid of each subject, laid out as Fig. 6, and a plot of each metric.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import wandb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eval.benchmark.sweep import Sweep
from eval.metrics.registry import REGISTRY
from eval.reporting.palette import COLORS, axis_title
from eval.reporting.tables import Table
from src.common.arrays import height_width
from src.common.atomic import atomic_path
from src.common.progress import track
from src.media.contact_sheet import Row, contact_sheet
from src.media.video import read_video
from src.pose.draw import draw_poses
from src.pose.formats import load_poses
from src.runs.generated import FRAMES
from src.runs.run_folder import HELD_OUT

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger

GRID_COLUMNS = 8


def write_grids(sweep: Sweep, folder: Path) -> list[Path]:
    """For each subject a picture with a row of each variant below the true frames and poses; columns are time."""
    paths = []
    for name in track(sorted({run.name for run in sweep.runs}), "Image grids"):
        runs = [run for run in sweep.runs if run.name == name]
        real = read_video(runs[0].folder / HELD_OUT / FRAMES).frames
        poses = draw_poses(load_poses(runs[0].folder / "poses.npz"), height_width(real))
        rows = [Row("pose", poses), Row("real", real)]
        rows += [Row(run.variant or run.summary["method"], read_video(run.folder / FRAMES).frames) for run in runs]
        paths.append(folder / f"{name}.png")
        contact_sheet(rows, paths[-1], columns=GRID_COLUMNS, caption=name)
    return paths


def write_plots(table: Table, path: Path) -> Path | None:
    """One panel a metric, up is better: each variant's value with its interval, the subjects' own values behind it.

    None where no metric has a value.
    """
    results = table.results
    metrics = [name for name in table.columns if any(name in result.metrics for result in results)]
    if not metrics:
        return None
    intervals, columns = False, min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    # A figure without pyplot: no global state, no display.
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, name in zip(axes.flat, metrics, strict=False):
        at = [index for index, result in enumerate(results) if name in result.metrics]
        values = np.array([results[index].metrics[name]["value"] for index in at])
        subjects = sorted({clip for index in at for clip in results[index].clips})
        for subject in subjects:
            line = [results[index].clips.get(subject, {}).get(name, np.nan) for index in at]
            axis.plot(at, line, color="#8886", linewidth=0.8, zorder=1)
        axis.plot(at, values, "o", color=COLORS[0], zorder=3)
        for index, value in zip(at, values, strict=True):
            if (interval := results[index].interval(name)) is not None:
                spread = np.abs(np.array(interval) - value)[:, None]
                axis.errorbar(index, value, spread, fmt="none", color=COLORS[0], capsize=4, zorder=2)
                intervals = True
        axis.set_xticks(range(len(results)), [result.label for result in results], rotation=20, ha="right")
        better = REGISTRY[name].higher_is_better
        axis.set_title(axis_title(REGISTRY[name].title, higher_is_better=better), fontsize=11)
        if not better:
            axis.invert_yaxis()
        axis.margins(x=0.15)
    for axis in list(axes.flat)[len(metrics) :]:
        axis.set_axis_off()
    all_of_them = "all subjects together" + (", with the 95 % interval over subjects" if intervals else "")
    handles = [
        Line2D([], [], color=COLORS[0], marker="o", linestyle="none", label=all_of_them),
        Line2D([], [], color="#8886", linewidth=0.8, label="a line a subject"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def log_sweep(tables: Sequence[Table], grids: Sequence[Path], plots: Mapping[str, Path], logger: "WandbLogger") -> None:
    """Log the tables, what stands below them, grids and plots as one W&B run, which the command ends.

    Args:
        plots: by name.
    """
    first, shown = tables[0], [(table, result) for table in tables for result in table.results]
    notes = {table.title: table.notes for table in tables}
    logger.experiment.config.update({"benchmark": first.benchmark, "protocol": first.protocol, "notes": notes})
    columns = dict.fromkeys(name for table in tables for name in table.columns)
    measured = [name for name in columns if any(name in result.metrics for _, result in shown)]
    rows = []
    for table, result in shown:
        values = [result.metrics[name]["value"] if name in result.metrics else None for name in measured]
        rows.append([result.label, ", ".join(table.sizes), len(result.clips), *values])
        logger.log_metrics(
            {f"{result.label}/{name}": value for name, value in zip(measured, values, strict=True) if value is not None}
        )
    logger.log_table("variants", columns=["variant", "size", "subjects", *measured], data=rows)
    logger.experiment.log({f"grids/{path.stem}": wandb.Image(str(path)) for path in grids})
    logger.experiment.log({name: wandb.Image(str(path)) for name, path in plots.items()})
