"""The paper's tables beside ours: one table a benchmark and protocol.

Results of different protocols, of frames of different size, or of networks of one name and other weights, never share a
table. The published rows stand apart from the measured ones, since nobody knows the code that made them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.metrics.frechet_interval import MIN_SUBJECTS
from eval.metrics.registry import REGISTRY
from eval.reporting.intervals import holm
from eval.reporting.notes import (
    PUBLISHED_FRAMES,
    grouped,
    incomparable,
    notes_of,
    other_threshold,
    other_weights,
    said_of_stand_in,
    short_stand_in,
    those,
)
from eval.reporting.results import Result
from eval.reporting.told_apart import shared, told_apart
from src.common.digests import digest
from src.common.errors import UserError
from src.common.files import natural_key
from src.common.reading import read_yaml
from src.common.typed import plain

PUBLISHED = Path(__file__).parent / "published.yaml"


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        interval: its interval over subjects, or None.
        difference: from the table's `against`, or None.
        difference_interval: its paired interval over subjects, or None.
        p_value: of no difference, a paired sign-flip test over subjects, corrected for the number of tests in the table
            (Holm); or None.
        note: what must be known of it, or None.
        found: the share that `MetricSpec.seen` describes: of the real keypoints, or of the frames that show a face; or
            None.
        windows: of what looks at short videos, how many generated ones it rests on, or None.
    """

    value: float
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_value: float | None = None
    note: str | None = None
    found: float | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Row:
    """One method. `published` rows come from the paper; `subjects`, `frames` and `path` are None for them.

    Attributes:
        frames: over all subjects.
        frames_each: the fewest and the most of a subject.
    """

    label: str
    method: str
    num_frames: int | None
    published: bool
    subjects: int | None
    cells: dict[str, Cell]
    missing: dict[str, str]
    path: str | None
    frames: int | None = None
    frames_each: tuple[int, int] = (PUBLISHED_FRAMES, PUBLISHED_FRAMES)


@dataclass(frozen=True)
class Table:
    """All rows that may be compared.

    Attributes:
        columns: metrics by name, in the order of the registry.
        notes: to be printed below.
        against: what differences are from: `paper`, the published row of the same method and training frames; or the
            label of a measured row; None: there are none.
    """

    benchmark: str
    protocol: dict[str, Any]
    sizes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    results: tuple[Result, ...]
    against: str | None
    protocol_label: str

    @property
    def title(self) -> str:
        return f"{self.benchmark} · protocol {self.protocol_label} · {', '.join(self.sizes) or 'size not recorded'}"

    @property
    def shared(self) -> str:
        """What made all measured rows alike, in a line; empty where nothing is known."""
        return shared(self.results)

    @property
    def tells_frames(self) -> bool:
        """Whether the rows' frames must be told: they are not as many for every subject, or fewer than asked for."""
        asked = {result.dataset.expected_frames for result in self.results if result.dataset is not None} - {None}
        return len({count for row in self.rows for count in row.frames_each} | asked) > 1


def build_tables(
    results: Sequence[Result],
    *,
    published: dict[str, Any] | None = None,
    baseline: str | None = None,
    fallback: str | None = None,
) -> list[Table]:
    """Group results into tables and put the published rows of their benchmark above them.

    Args:
        published: the content of `published.yaml`; None reads it.
        baseline: label of the result that the others are compared with; None: the published rows, where there are any.
        fallback: likewise, where nothing is published and there is no baseline.

    Raises:
        UserError: no result is called like the baseline.
    """
    rows = read_yaml(PUBLISHED) if published is None else published
    groups: dict[tuple[str, str, str, tuple[str, ...]], list[Result]] = {}
    for result in results:
        key = (result.benchmark, result.protocol.name, digest(result.protocol.content()), result.sizes)
        groups.setdefault(key, []).append(result)
    named = [told_apart(group) for _, group in sorted(groups.items())]
    labels = [result.label for group in named for result in group]
    if baseline is not None and baseline not in labels:
        raise UserError(f"baseline={baseline} is none of {'; '.join(labels)}")
    tables = []
    for group in named:
        for part in grouped(group, lambda one, other: not other_weights(one, other)):
            apart = [result for result in group if all(result is not one for one in part)]
            tables.append(_table(part, rows, apart, baseline=baseline, fallback=fallback))
    return tables


def _table(
    results: list[Result],
    published: dict[str, Any],
    apart: Sequence[Result],
    *,
    baseline: str | None,
    fallback: str | None,
) -> Table:
    first = results[0]
    paper = published.get(first.benchmark, [])
    if all(result.variant is None for result in results):
        results = sorted(
            results, key=lambda one: (one.method, one.num_frames or 0, natural_key(one.told or ""), str(one.path))
        )
    against = baseline if baseline is not None or paper else fallback
    base = next((result for result in results if result.label == against), None)
    rows = [_published_row(entry) for entry in paper]
    for result in results:
        stand_in = short_stand_in(result) if paper and result.stand_in is not None else None
        label = ", ".join(filter(None, (result.variant or result.method, result.told, stand_in)))
        compared = ([], None if result is base else base) if base is not None else (paper, None)
        rows.append(_measured_row(result, *compared, results, label=label))
    rows = _corrected(rows)
    columns = tuple(name for name in REGISTRY if any(name in row.cells or name in row.missing for row in rows))
    notes = [f"Published rows: {published['source']}. {published['note']}"] if paper else []
    notes += how_to_read(
        [cell for row in rows for cell in row.cells.values()],
        "the published row of the same method and NFs" if base is None else f"{base.label} over the same subjects",
    )
    for why in sorted({result.stand_in for result in results if result.stand_in is not None}):
        labels = those([result for result in results if result.stand_in == why], results)
        notes.append(f"{said_of_stand_in(why)} ({labels}).")
    if weights := sorted({one for result in results for peer in apart for one in other_weights(result, peer)}):
        notes.append(
            f"Judged by {', '.join(weights)}: results by other weights of that name do not compare, and stand in a "
            "table of their own."
        )
    notes += notes_of(results, published=bool(paper))
    return Table(
        first.benchmark,
        plain(first.protocol),
        first.sizes,
        columns,
        tuple(rows),
        tuple(notes),
        tuple(results),
        base.label if base is not None else ("paper" if paper else None),
        first.protocol.label(),
    )


def how_to_read(cells: Sequence[Cell], against: str) -> list[str]:
    """What stands in the cells beside their values, of what there is.

    Args:
        against: what differences are from.
    """
    said = []
    if any(cell.difference is not None for cell in cells):
        beside = " with its paired interval" if any(cell.difference_interval for cell in cells) else ""
        tested = any(cell.p_value is not None for cell in cells)
        test = " and the p-value of no difference (sign flips of subjects, Holm's correction over the table)"
        said.append(f"Parentheses: difference from {against}{beside}{test if tested else ''}.")
    if any(cell.interval is not None for cell in cells):
        said.append(
            "Brackets: 95 % interval over subjects (studentised bootstrap; of Fréchet distances a jackknife, of what "
            f"as many frames give on average); none of fewer than {MIN_SUBJECTS} subjects."
        )
    return said


def _corrected(rows: list[Row]) -> list[Row]:
    """The rows with the p-values of all their cells corrected for how many these are."""
    tested = [(row, name) for row in rows for name, cell in row.cells.items() if cell.p_value is not None]
    adjusted = dict(
        zip(
            ((row.path, name) for row, name in tested),
            holm([row.cells[name].p_value or 0.0 for row, name in tested]),
            strict=True,
        )
    )
    return [
        replace(
            row,
            cells={name: replace(cell, p_value=adjusted.get((row.path, name))) for name, cell in row.cells.items()},
        )
        for row in rows
    ]


def _published_row(entry: dict[str, Any]) -> Row:
    cells = {name: Cell(float(entry[name])) for name in REGISTRY if name in entry}
    return Row(entry["label"], entry["method"], entry["num_frames"], True, None, cells, {}, None)


def _measured_row(
    result: Result, paper: list[dict[str, Any]], base: Result | None, peers: Sequence[Result], *, label: str
) -> Row:
    comparable = [] if incomparable(result) else paper
    same = [e for e in comparable if (e["method"], e["num_frames"]) == (result.method, result.num_frames)]
    cells = {}
    for name, entry in result.metrics.items():
        difference, paired = None, None
        odd = other_threshold(result, name) if same and name in same[0] else None
        if same and name in same[0]:
            difference = None if odd is not None else entry["value"] - float(same[0][name])
        elif base is not None and name in base.metrics and _network(base, name) == _network(result, name):
            paired = result.difference(base, name)
            difference = None if paired is None else paired.value
        noted = [note for note in (entry.get("note"), odd) if isinstance(note, str)]
        if len({_network(peer, name) for peer in peers if name in peer.metrics}) > 1:
            noted.append("rows of this column were judged by different networks or settings, and do not compare")
        found = entry.get("seen") if REGISTRY[name].seen else None
        cells[name] = Cell(
            entry["value"],
            result.interval(name),
            difference,
            None if paired is None else paired.interval,
            None if paired is None else paired.p_value,
            "; ".join(noted) or None,
            float(found) if isinstance(found, (int, float)) else None,
            entry["clips"] if isinstance(entry.get("clips"), int) else None,
        )
    counts = [int(clip["frames"]) for clip in result.clips.values()]
    return Row(
        label,
        result.method,
        result.num_frames,
        False,
        len(result.clips),
        cells,
        dict(result.missing),
        str(result.path),
        sum(counts),
        (min(counts, default=0), max(counts, default=0)),
    )


def _network(result: Result, metric: str) -> str:
    """What judged a metric, as its result says."""
    return repr(result.metrics[metric].get("network"))
