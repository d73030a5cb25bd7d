"""Tables and one self-contained page of all results: python -m eval.report results=outputs/eval."""

import datetime
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from eval.benchmark.sweep import benchmark_of, default_metrics, read_sweep, score_sweep
from eval.benchmark.sweep_report import embedded, log_sweep, write_grids, write_plots
from eval.metrics.catalog import CATALOG
from eval.reporting.results import Result, load_results
from eval.reporting.side_by_side import Comparison, compare
from eval.reporting.tables import Table, build_tables
from eval.reporting.templates import render
from eval.reporting.writers import format_cell, format_interval, format_value, to_csv, to_json, to_latex, to_markdown
from eval.scoring.protocol import Protocol
from src.app.entry import entry
from src.common.errors import UserError
from src.common.files import atomic_path, write_json
from src.common.progress import track

log = logging.getLogger(__name__)

# Okabe and Ito's palette, told apart by colour-blind readers too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


@dataclass(frozen=True)
class Plot:
    """One metric of all subjects, worst first.

    Attributes:
        low, high: the ends of the axis.
        rows: by subject, the points (index of the result, position in [0, 1] along the axis, text).
    """

    metric: str
    low: float
    high: float
    rows: tuple[tuple[str, tuple[tuple[int, float, str], ...]], ...]


@dataclass(frozen=True)
class Section:
    """A table with its plots, videos and pictures (caption and base64 WebP)."""

    table: Table
    labels: tuple[str, ...]
    plots: tuple[Plot, ...]
    comparisons: tuple[Comparison, ...]
    ranked_by: str | None
    pictures: tuple[tuple[str, str], ...] = ()


@entry(config_name="report")
def main(cfg: DictConfig) -> None:
    """Write `report.html` and `tables.md`, `.tex`, `.csv`, `.json`; of a sweep also its image grids and plots."""
    if cfg.sweep is not None:
        report_sweep(cfg)
        return
    given = [cfg.results] if isinstance(cfg.results, str) else list(cfg.results or [])
    paths = [Path(path) for path in given]
    results = load_results(paths)
    if cfg.output is None and len(paths) != 1:
        raise UserError("several results need an output folder: output=<folder>")
    first = paths[0] if paths[0].is_dir() else paths[0].parent
    write_report(build_tables(results), first / "report" if cfg.output is None else Path(cfg.output), cfg)


def report_sweep(cfg: DictConfig) -> list[Table]:
    """Score a multirun of `src.train`; write tables, page, image grids and plots, and log them to W&B if its runs do.

    Raises:
        UserError: no finished run in `cfg.sweep`, or settings that do not suit it.
    """
    sweep = read_sweep(Path(cfg.sweep))
    output = Path(cfg.sweep) / "report" if cfg.output is None else Path(cfg.output)
    protocol = Protocol.from_config(cfg.protocol)
    metrics = default_metrics(sweep) if cfg.metrics is None else [str(name) for name in cfg.metrics]
    benchmark = benchmark_of(sweep) if cfg.benchmark is None else str(cfg.benchmark)
    results = load_results(score_sweep(sweep, output, cfg=cfg, metrics=metrics, protocol=protocol, benchmark=benchmark))
    for job, what in sweep.unfinished.items():
        log.warning("job %s (%s) is not finished: run the sweep again in the same hydra.sweep.dir", job, what)
    tables = build_tables(results, baseline=results[0].label if cfg.baseline is None else str(cfg.baseline))
    grids = write_grids(sweep, results, output / "grids")
    plots = write_plots(tables[0], output / "plots.png")
    write_report(tables, output, cfg, pictures=[("All metrics", plots), *((path.stem, path) for path in grids)])
    project = sweep.runs[0].cfg.logger.get("project")
    if project is not None:
        log_sweep(sweep, tables[0], grids, plots, project=project, output=output)
    return tables


def write_report(
    tables: Sequence[Table], output: Path, cfg: DictConfig, *, pictures: Sequence[tuple[str, Path]] = ()
) -> None:
    """Write all tables and the page into the folder `output`.

    Args:
        cfg: `num_videos`, how many subjects of each table come with a video, worst first; `rank_by`, the metric that
            decides, or None for the first of the catalogue that subjects were measured by; `video_height` in pixels.
        pictures: captions and files, for the first table's section.

    Raises:
        UserError: `rank_by` names no metric that any subject has a value of.
    """
    output.mkdir(parents=True, exist_ok=True)
    texts = {"tables.md": to_markdown(tables), "tables.tex": to_latex(tables), "tables.csv": to_csv(tables)}
    options = {"num_videos": cfg.num_videos, "rank_by": cfg.rank_by, "video_height": cfg.video_height}
    sections = [_section(table, **options) for table in tables]
    sections[0] = replace(sections[0], pictures=tuple((caption, embedded(path)) for caption, path in pictures))
    if cfg.rank_by is not None and all(section.ranked_by is None for section in sections):
        raise UserError(f"rank_by={cfg.rank_by}: no subject has a value of it; use one of {', '.join(CATALOG)}")
    texts["report.html"] = render_page(sections)
    for name, text in texts.items():
        with atomic_path(output / name) as temporary:
            temporary.write_text(text)
    write_json(output / "tables.json", to_json(tables))
    log.info("%d tables of %d results: %s", len(tables), sum(len(t.results) for t in tables), output / "report.html")


def worst_first(results: Sequence[Result], metric: str) -> list[str]:
    """Subjects by their mean over the results, the worst first."""
    values: dict[str, list[float]] = {}
    for result in results:
        for subject, clip in result.clips.items():
            if metric in clip:
                values.setdefault(subject, []).append(clip[metric])
    means = {subject: math.fsum(numbers) / len(numbers) for subject, numbers in values.items()}
    return sorted(means, key=lambda subject: (means[subject], subject), reverse=not CATALOG[metric].higher_is_better)


def _section(table: Table, *, num_videos: int, rank_by: str | None, video_height: int) -> Section:
    measured = [
        name for name in CATALOG if any(name in clip for result in table.results for clip in result.clips.values())
    ]
    ranked_by = rank_by if rank_by in measured else (measured[0] if measured and rank_by is None else None)
    subjects = worst_first(table.results, ranked_by) if ranked_by is not None else []
    varied = any(result.variant is not None for result in table.results)
    labels = tuple(
        row.label if varied or row.num_frames is None else f"{row.label} ({row.num_frames})"
        for row in table.rows
        if not row.published
    )
    comparisons = [
        compare(subject, table.results, labels, height=video_height)
        for subject in track(subjects[:num_videos], f"Videos ({table.benchmark})")
    ]
    plots = tuple(_plot(name, table.results) for name in measured)
    return Section(table, labels, plots, tuple(comparisons), ranked_by)


def _plot(metric: str, results: Sequence[Result]) -> Plot:
    subjects = worst_first(results, metric)
    numbers = [clip[metric] for result in results for clip in result.clips.values() if metric in clip]
    finite = [number for number in numbers if math.isfinite(number)] or [0.0]
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0

    def point(index: int, value: float) -> tuple[int, float, str]:
        # An infinite PSNR is drawn at the axis' better end; its text says inf.
        return index, (value - low) / span if math.isfinite(value) else 1.0, format_value(metric, value)

    rows = tuple(
        (
            subject,
            tuple(
                point(index, result.clips[subject][metric])
                for index, result in enumerate(results)
                if metric in result.clips.get(subject, {})
            ),
        )
        for subject in subjects
    )
    return Plot(metric, low, high, rows)


def render_page(sections: Sequence[Section]) -> str:
    """The page as one HTML text that needs no other file and no network."""
    values = {
        "sections": sections,
        "catalog": CATALOG,
        "colors": COLORS,
        "format_cell": format_cell,
        "format_interval": format_interval,
        "format_value": format_value,
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return render(Path(__file__).parent / "reporting" / "page.html.j2", values, autoescape=True)


if __name__ == "__main__":
    main()
