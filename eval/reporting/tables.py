"""The paper's tables beside ours: one table a benchmark and protocol.

Results of different protocols, or of frames of different size, never share a table. The published rows stand apart
from the measured ones, since nobody knows the code that made them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.metrics.frechet_interval import MIN_SUBJECTS
from eval.metrics.registry import REGISTRY
from eval.reporting.intervals import holm
from eval.reporting.results import Result
from eval.scoring.protocol import PROTOCOLS, Protocol
from src.common.digests import digest
from src.common.errors import UserError
from src.common.reading import read_yaml
from src.common.typed import plain, typed

# What the published rows rest on (Sec. 5.1).
PUBLISHED_SIZE, PUBLISHED_FRAMES = "512x512", 100
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
        found: of MSE-P, the share of the real keypoints that were found in the generated frames, or None.
    """

    value: float
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_value: float | None = None
    note: str | None = None
    found: float | None = None


@dataclass(frozen=True)
class Row:
    """One method. `published` rows come from the paper; `subjects` and `path` are None for them."""

    label: str
    method: str
    num_frames: int | None
    published: bool
    subjects: int | None
    cells: dict[str, Cell]
    missing: dict[str, str]
    path: str | None


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


def build_tables(
    results: Sequence[Result], *, published: dict[str, Any] | None = None, baseline: str | None = None
) -> list[Table]:
    """Group results into tables and put the published rows of their benchmark above them.

    Args:
        published: the content of `published.yaml`; None reads it.
        baseline: label of the result that the others are compared with where nothing is published.

    Raises:
        UserError: no result is called like the baseline.
    """
    labels = [result.label for result in results]
    if baseline is not None and baseline not in labels:
        raise UserError(f"baseline={baseline} is none of {', '.join(labels)}")
    rows = read_yaml(PUBLISHED) if published is None else published
    groups: dict[tuple[str, str, str, tuple[str, ...]], list[Result]] = {}
    for result in results:
        key = (result.benchmark, result.protocol.name, digest(result.protocol.content()), result.sizes)
        groups.setdefault(key, []).append(result)
    return [_table(group, rows, baseline) for _, group in sorted(groups.items())]


def _table(results: list[Result], published: dict[str, Any], baseline: str | None) -> Table:
    first = results[0]
    paper = published.get(first.benchmark, [])
    if all(result.variant is None for result in results):
        results = sorted(results, key=lambda result: (result.method, result.num_frames or 0, str(result.path)))
    base = None if paper else next((result for result in results if result.label == baseline), None)
    legends = [result.label for result in results]
    rows = [_published_row(entry) for entry in paper]
    for result in results:
        # The same method twice (another seed, another model) is told apart by its folder.
        folder = f", {result.path.parent.name}" if legends.count(result.label) > 1 else ""
        stand_in = f", {_short(result)}" if paper and result.stand_in is not None else ""
        label = (result.variant or result.method) + folder + stand_in
        rows.append(_measured_row(result, paper, None if result is base else base, results, label=label))
    rows = _corrected(rows)
    columns = tuple(name for name in REGISTRY if any(name in row.cells or name in row.missing for row in rows))
    notes = []
    if paper:
        notes.append(f"Published rows: {published['source']}. {published['note']}")
        notes.append("Parentheses: difference from the published row of the same method and NFs.")
    if base is not None:
        notes.append(
            f"Parentheses: difference from {base.label} over the same subjects, with its paired interval and the "
            "p-value of no difference (sign flips of subjects, Holm's correction over the table)."
        )
    for why in sorted({result.stand_in for result in results if result.stand_in is not None}):
        labels = ", ".join(result.label for result in results if result.stand_in == why)
        notes.append(f"{why}: a stand-in, which reproduces no published number ({labels}).")
    notes.append(
        f"Brackets: 95 % interval over subjects (studentised bootstrap; of Fréchet distances a jackknife, of what as "
        f"many frames give on average); none of fewer than {MIN_SUBJECTS} subjects."
    )
    notes += _notes(results, published=bool(paper))
    against = "paper" if paper else (None if base is None else base.label)
    return Table(
        first.benchmark,
        plain(first.protocol),
        first.sizes,
        columns,
        tuple(rows),
        tuple(notes),
        tuple(results),
        against,
        first.protocol.label(),
    )


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
        if same and name in same[0]:
            difference = entry["value"] - float(same[0][name])
        elif base is not None and name in base.metrics and _network(base, name) == _network(result, name):
            paired = result.difference(base, name)
            difference = None if paired is None else paired.value
        noted = [entry["note"]] if isinstance(entry.get("note"), str) else []
        if len({_network(peer, name) for peer in peers if name in peer.metrics}) > 1:
            noted.append("rows of this column were judged by different networks or settings, and do not compare")
        found = entry.get("seen")
        cells[name] = Cell(
            entry["value"],
            result.interval(name),
            difference,
            None if paired is None else paired.interval,
            None if paired is None else paired.p_value,
            "; ".join(noted) or None,
            float(found) if isinstance(found, (int, float)) else None,
        )
    return Row(
        label, result.method, result.num_frames, False, len(result.clips), cells, dict(result.missing), str(result.path)
    )


def incomparable(result: Result) -> list[str]:
    """Why a result may not be set against the paper's numbers; nothing where it may."""
    reasons = []
    paper = typed(Protocol, read_yaml(PROTOCOLS / "paper.yaml"), "protocol")
    if changed := result.protocol.differences(paper):
        reasons.append(f"protocol {result.protocol.label()} is not the paper's ({'; '.join(changed[:3])})")
    if result.sizes != (PUBLISHED_SIZE,):
        reasons.append(f"frames of {', '.join(result.sizes) or 'unknown size'}, not {PUBLISHED_SIZE}")
    short = [clip for clip, values in result.clips.items() if values["frames"] != PUBLISHED_FRAMES]
    if short:
        reasons.append(f"{len(short)} subjects with other than {PUBLISHED_FRAMES} frames")
    if result.dataset is not None and len(result.clips) < result.dataset.expected:
        reasons.append(f"{len(result.clips)} of {result.dataset.expected} subjects")
    if result.stand_in is not None:
        reasons.append(f"{result.stand_in}: a stand-in")
    return reasons


def _network(result: Result, metric: str) -> str:
    """What judged a metric, as its result says."""
    return repr(result.metrics[metric].get("network"))


def _notes(results: Sequence[Result], *, published: bool) -> list[str]:
    """What must be known of the measured rows, each thing once with the rows that it holds for."""
    said: dict[str, list[str]] = {}
    for result in results:
        noted = {name: entry["note"] for name, entry in result.metrics.items() if "note" in entry}
        texts = [f"{REGISTRY[name].title}: {note}" for name, note in noted.items()]
        texts += [f"{REGISTRY[name].title} is missing: {reason}" for name, reason in result.missing.items()]
        if result.warnings:
            first, *others = result.warnings
            texts.append(first + (f" (and {len(others)} warnings more)" if others else ""))
        texts += _partial(result) + _made(result)
        if published and (reasons := incomparable(result)):
            texts.append(f"not compared with the published row: {', '.join(reasons)}")
        if changes := result.protocol.changes():
            texts.append(f"protocol {result.protocol.name} was changed: {'; '.join(changes)}")
        for text in texts:
            said.setdefault(text, []).append(result.label)
    return [f"{', '.join(labels)}: {text}." for text, labels in said.items()] + _unlike(results)


def _short(result: Result) -> str:
    """What a row from stand-in weights is marked with."""
    why = result.stand_in or ""
    return why if why.startswith("model=") else "stand-in weights"


def _made(result: Result) -> list[str]:
    """How the frames were made, where a row says it."""
    setup = result.setup
    if setup is None or setup.driven_by is None:
        return []
    size = ", ".join(setup.frames)
    brought = f", brought to {', '.join(result.sizes)} ({setup.resize})" if setup.resize is not None else ""
    texts = [f"driven by {setup.driven_by}, frames of {size}{brought}"]
    for what, sources in setup.sources.items():
        had = "; ".join(f"{source}: {count}" for source, count in sources.items())
        texts.append(f"{what} of {sum(sources.values())} of {setup.subjects} subjects ({had})")
    return texts


def _partial(result: Result) -> list[str]:
    """Subjects and held-out frames that were asked for and are not there."""
    if result.dataset is None:
        return []
    texts, asked = [], result.dataset.expected_frames
    if len(result.clips) < result.dataset.expected:
        texts.append(f"partial, {len(result.clips)} of {result.dataset.expected} subjects")
    short = [
        f"{clip} {int(values['frames'])}" for clip, values in result.clips.items() if values["frames"] < (asked or 0)
    ]
    if short:
        more = f" and {len(short) - 3} subjects more" if len(short) > 3 else ""
        texts.append(f"fewer held-out frames than the {asked} asked for: {', '.join(short[:3])}{more}")
    return texts


def _unlike(results: Sequence[Result]) -> list[str]:
    """Rows that rest on other subjects, or on other frames of the same ones, than the first."""
    if len(results) < 2:
        return []
    first, texts = results[0], []
    for result in results[1:]:
        if set(result.clips) != set(first.clips):
            shared = len(set(result.clips) & set(first.clips))
            texts.append(
                f"{result.label} and {first.label} rest on different subjects ({shared} in common): their values do "
                "not compare, differences are over those in common."
            )
        if other := [clip for clip in result.clips if clip in first.clips and not result.same_frames(first, clip)]:
            texts.append(
                f"{result.label} and {first.label} rest on different test frames of {', '.join(other[:3])}"
                f"{f' and {len(other) - 3} more' if len(other) > 3 else ''}: their values do not compare."
            )
    return texts
