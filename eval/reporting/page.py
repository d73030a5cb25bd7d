"""The page of all results: one HTML file with tables, plots and videos that needs no other file and no network."""

import base64
import contextlib
import datetime
import io
import logging
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup, escape
from PIL import Image

from eval.metrics.registry import REGISTRY
from eval.reporting.card import write_cards
from eval.reporting.forest import Forest, along, forests_of
from eval.reporting.palette import COLORS
from eval.reporting.results import Result
from eval.reporting.settings import WRITTEN, PageSettings
from eval.reporting.side_by_side import Comparison, compare
from eval.reporting.tables import Table
from eval.reporting.templates import render
from eval.reporting.writers import (
    format_cell,
    format_difference,
    format_interval,
    format_value,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.digests import sha256
from src.common.errors import UserError
from src.common.files import read_record, write_json
from src.common.progress import track
from src.common.writers import refuse_links

log = logging.getLogger(__name__)

# Metrics side by side in 1,280 pixels.
BLOCK = 8
# By path within the report the SHA-256 of each card and picture that was written, of which a report has more or fewer.
RECORD = ".cards.json"
_OF_A_REPORT = re.compile(
    r"cards/[A-Za-z0-9_-]+/\d{2,}_[A-Za-z0-9_-]+\.md|(plots|seconds)(-\d+)?\.png|grids/[^/]+\.png"
)


@dataclass(frozen=True)
class Plot:
    """One metric of all subjects, worst first.

    Attributes:
        left, right: the ends of the axis; the right one is the better.
        rows: by subject, the points (index of the result, position in [0, 1] along the axis, text).
    """

    metric: str
    left: float
    right: float
    rows: tuple[tuple[str, tuple[tuple[int, float, str], ...]], ...]


@dataclass(frozen=True)
class Section:
    """A table with its plots, videos and pictures (caption and base64 WebP).

    Attributes:
        blocks: the table's columns in groups that fit a page's width.
    """

    table: Table
    blocks: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    plots: tuple[Plot, ...]
    forests: tuple[Forest, ...]
    comparisons: tuple[Comparison, ...]
    ranked_by: str | None
    pictures: tuple[tuple[str, str], ...] = ()


def write_report(
    tables: Sequence[Table],
    output: Path,
    settings: PageSettings,
    *,
    pictures: Sequence[Sequence[tuple[str, Path]]] = (),
) -> None:
    """Write all tables and the page into the folder `output`.

    Args:
        pictures: captions and files in `output` for each table's section; empty: none for any.

    Raises:
        UserError: `rank_by` names no metric that any subject has a value of, or a link leads out of `output`.
    """
    refuse_links(output, WRITTEN)
    output.mkdir(parents=True, exist_ok=True)
    texts = {"tables.md": to_markdown(tables), "tables.tex": to_latex(tables), "tables.csv": to_csv(tables)}
    sections = [_section(table, settings) for table in tables]
    for number, own in enumerate(pictures):
        shown = tuple((caption, embedded(path)) for caption, path in own)
        sections[number] = replace(sections[number], pictures=shown)
    if settings.rank_by is not None and all(section.ranked_by is None for section in sections):
        measured = ", ".join(dict.fromkeys(plot.metric for section in sections for plot in section.plots))
        mend = f"use one of {measured}" if measured else "leave it out"
        raise UserError(f"rank_by={settings.rank_by}: no subject has a value of it; {mend}")
    texts["report.html"] = render_page(sections)
    for name, text in texts.items():
        with atomic_path(output / name) as temporary:
            temporary.write_text(text, "utf-8")
    write_json(output / "tables.json", to_json(tables))
    named: set[str] = set()
    cards: list[Path] = []
    for number, (table, section) in enumerate(zip(tables, sections, strict=True)):
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{table.benchmark}-{table.protocol_label}-{'-'.join(table.sizes)}")
        # Tables of one benchmark and protocol are apart where networks of one name had other weights.
        name = f"{name}-{number}" if name in named else name
        named.add(name)
        cards += write_cards(table.results, section.labels, output / "cards" / name)
    _replace(output, [*cards, *(path for own in pictures for _, path in own)])
    count = sum(len(table.results) for table in tables)
    log.info("%s of %s: %s", counted(len(tables), "table"), counted(count, "result"), output / "report.html")


def _replace(output: Path, written: Collection[Path]) -> None:
    """Remove the cards and pictures that the report before this one wrote into `output`, and record this one's.

    What no record lists is not ours, nor is what was changed since: both stay.
    """
    now = {path.relative_to(output).as_posix(): sha256(path) for path in written}
    for name, known in (read_record(output / RECORD) or {}).items():
        path = output / name
        # The record may come from anyone.
        if name in now or not _OF_A_REPORT.fullmatch(name) or path.is_symlink() or path.parent.is_symlink():
            continue
        if path.is_file() and sha256(path) == known:
            path.unlink()
            with contextlib.suppress(OSError):  # something else is in it
                path.parent.rmdir()
    write_json(output / RECORD, now)


def worst_first(results: Sequence[Result], metric: str) -> list[str]:
    """Subjects by their mean over the results, the worst first."""
    values: dict[str, list[float]] = {}
    for result in results:
        for subject, clip in result.clips.items():
            if metric in clip:
                values.setdefault(subject, []).append(clip[metric])
    means = {subject: math.fsum(numbers) / len(numbers) for subject, numbers in values.items()}
    return sorted(means, key=lambda subject: (means[subject], subject), reverse=not REGISTRY[metric].higher_is_better)


def _section(table: Table, settings: PageSettings) -> Section:
    measured = [
        name for name in REGISTRY if any(name in clip for result in table.results for clip in result.clips.values())
    ]
    rank_by = settings.rank_by
    ranked_by = rank_by if rank_by in measured else (measured[0] if measured and rank_by is None else None)
    subjects = worst_first(table.results, ranked_by) if ranked_by is not None else []
    labels = tuple(result.label for result in table.results)
    comparisons = [
        compare(subject, table.results, labels, height=settings.video_height)
        for subject in track(subjects[: settings.num_videos], f"Videos ({table.benchmark})")
    ]
    plots = tuple(_plot(name, table.results) for name in measured)
    blocks = tuple(table.columns[at : at + BLOCK] for at in range(0, len(table.columns), BLOCK))
    return Section(table, blocks, labels, plots, forests_of(table), tuple(comparisons), ranked_by)


def _plot(metric: str, results: Sequence[Result]) -> Plot:
    subjects = worst_first(results, metric)
    numbers = [clip[metric] for result in results for clip in result.clips.values() if metric in clip]
    finite = [number for number in numbers if math.isfinite(number)] or [0.0]
    better, worse = (max(finite), min(finite)) if REGISTRY[metric].higher_is_better else (min(finite), max(finite))

    def point(index: int, value: float) -> tuple[int, float, str]:
        # An infinite PSNR is drawn at the axis' better end; its text says inf.
        return index, along(value, worse, better) if math.isfinite(value) else 1.0, format_value(metric, value)

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
    return Plot(metric, worse, better, rows)


def render_page(sections: Sequence[Section]) -> str:
    """The page as one HTML text that needs no other file and no network."""
    values = {
        "sections": sections,
        "registry": REGISTRY,
        "colors": COLORS,
        "counted": counted,
        "format_cell": format_cell,
        "format_difference": format_difference,
        "format_interval": format_interval,
        "format_value": format_value,
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return render(Path(__file__).parent / "page.html.j2", values, autoescape=True, filters={"unbroken": unbroken})


def unbroken(text: str) -> Markup:
    """HTML of a text in which no line ends within an interval, a p-value or a number of them.

    >>> unbroken("<1 [-2e-3, 2e-3], p = 0.06")
    Markup('&lt;1 <span class="whole">[-2e-3, 2e-3]</span>, <span class="whole">p = 0.06</span>')
    """
    return Markup(re.sub(r"\[[^]]*\]|p = [^ )]+", r'<span class="whole">\g<0></span>', str(escape(text))))


def embedded(path: Path) -> str:
    """A picture as base64 WebP, for the page."""
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(buffer, "WEBP", quality=88)
    return base64.b64encode(buffer.getvalue()).decode()
