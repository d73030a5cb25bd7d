"""Tables and one self-contained page of all results: python -m eval.report results=outputs/eval."""

import datetime
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from omegaconf import DictConfig

from eval.catalog import CATALOG
from eval.formats import format_cell, format_value, to_csv, to_json, to_latex, to_markdown
from eval.results import Result, load_results
from eval.side_by_side import Comparison, compare
from eval.tables import Table, build_tables
from src.cli import entry
from src.errors import UserError
from src.files import atomic_path, write_json
from src.progress import track

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
    """A table with its plots and videos."""

    table: Table
    labels: tuple[str, ...]
    plots: tuple[Plot, ...]
    comparisons: tuple[Comparison, ...]
    ranked_by: str | None


@entry(config_name="report")
def main(cfg: DictConfig) -> None:
    """Write `report.html` and `tables.md`, `.tex`, `.csv`, `.json`."""
    given = [cfg.results] if isinstance(cfg.results, str) else list(cfg.results or [])
    paths = [Path(path) for path in given]
    results = load_results(paths)
    if cfg.output is None and len(paths) != 1:
        raise UserError("several results need an output folder: output=<folder>")
    first = paths[0] if paths[0].is_dir() else paths[0].parent
    write_report(
        results,
        first / "report" if cfg.output is None else Path(cfg.output),
        num_videos=cfg.num_videos,
        rank_by=cfg.rank_by,
        video_height=cfg.video_height,
    )


def write_report(
    results: Sequence[Result], output: Path, *, num_videos: int, rank_by: str | None, video_height: int
) -> None:
    """Write all tables and the page into the folder `output`.

    Args:
        num_videos: how many subjects of each table come with a video, worst first.
        rank_by: the metric that decides; None: the first of the catalogue that subjects were measured by.
        video_height: in pixels.

    Raises:
        UserError: `rank_by` names no metric that any subject has a value of.
    """
    tables = build_tables(results)
    output.mkdir(parents=True, exist_ok=True)
    texts = {"tables.md": to_markdown(tables), "tables.tex": to_latex(tables), "tables.csv": to_csv(tables)}
    sections = [_section(table, num_videos=num_videos, rank_by=rank_by, video_height=video_height) for table in tables]
    if rank_by is not None and all(section.ranked_by is None for section in sections):
        raise UserError(f"rank_by={rank_by}: no subject has a value of it; use one of {', '.join(CATALOG)}")
    texts["report.html"] = render_page(sections)
    for name, text in texts.items():
        with atomic_path(output / name) as temporary:
            temporary.write_text(text)
    write_json(output / "tables.json", to_json(tables))
    log.info("%d tables of %d results: %s", len(tables), len(results), output / "report.html")


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
    labels = tuple(
        row.label if row.num_frames is None else f"{row.label} ({row.num_frames})"
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(
        sections=sections,
        catalog=CATALOG,
        colors=COLORS,
        format_cell=format_cell,
        format_value=format_value,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


if __name__ == "__main__":
    main()
