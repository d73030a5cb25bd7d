"""The paper's tables beside ours: one table a benchmark and protocol.

Results of different protocols, or of frames of different size, never share a table. The published rows stand apart
from the measured ones, since nobody knows the code that made them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eval.metrics.registry import REGISTRY
from eval.reporting.results import Result
from src.common.errors import UserError
from src.common.typed import plain

# Models of ours that stand in for Stable Diffusion: beside published rows they are named, and not compared.
STAND_INS = ("mini", "tiny")
PUBLISHED = Path(__file__).parent / "published.yaml"


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        interval: its bootstrap interval over subjects, or None.
        difference: from the table's `against`, or None.
        difference_interval: its paired bootstrap interval over subjects, or None.
        note: what must be known of it, or None.
    """

    value: float
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    note: str | None = None


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

    @property
    def title(self) -> str:
        return f"{self.benchmark} · protocol {self.protocol['name']} · {', '.join(self.sizes) or 'size not recorded'}"


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
    if published is None:
        published = yaml.safe_load(PUBLISHED.read_text())
    groups: dict[tuple[str, str, tuple[str, ...]], list[Result]] = {}
    for result in results:
        key = (result.benchmark, repr(result.protocol), result.sizes)
        groups.setdefault(key, []).append(result)
    return [_table(group, published, baseline) for _, group in sorted(groups.items())]


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
        stand_in = f", model={result.model}" if paper and result.model in STAND_INS else ""
        label = (result.variant or result.method) + folder + stand_in
        rows.append(_measured_row(result, paper, None if result is base else base, label=label))
    columns = tuple(name for name in REGISTRY if any(name in row.cells or name in row.missing for row in rows))
    notes = []
    if paper:
        notes.append(f"Published rows: {published['source']}. {published['note']}")
        notes.append("Parentheses: difference from the published row of the same method and NFs.")
    if base is not None:
        notes.append(f"Parentheses: difference from {base.label} over the same subjects, with its paired interval.")
    if standing := [result for result in results if paper and result.model in STAND_INS]:
        names = ", ".join(f"model={name}" for name in sorted({result.model for result in standing}))
        notes.append(f"{names}: a stand-in for Stable Diffusion, which reproduces no published number.")
    notes.append("Brackets: 95 % bootstrap interval over subjects.")
    notes += _notes(results)
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
    )


def _published_row(entry: dict[str, Any]) -> Row:
    cells = {name: Cell(float(entry[name])) for name in REGISTRY if name in entry}
    return Row(entry["label"], entry["method"], entry["num_frames"], True, None, cells, {}, None)


def _measured_row(result: Result, paper: list[dict[str, Any]], base: Result | None, *, label: str) -> Row:
    comparable = [] if result.model in STAND_INS else paper
    same = [e for e in comparable if (e["method"], e["num_frames"]) == (result.method, result.num_frames)]
    cells = {}
    for name, entry in result.metrics.items():
        difference, interval = None, None
        if same and name in same[0]:
            difference = entry["value"] - float(same[0][name])
        elif base is not None and name in base.metrics:
            difference, interval = result.difference(base, name) or (None, None)
        cells[name] = Cell(entry["value"], result.interval(name), difference, interval, entry.get("note"))
    return Row(
        label, result.method, result.num_frames, False, len(result.clips), cells, dict(result.missing), str(result.path)
    )


def _notes(results: Sequence[Result]) -> list[str]:
    """What must be known of the measured rows, each thing once with the rows that it holds for."""
    said: dict[str, list[str]] = {}
    for result in results:
        texts = [
            f"{REGISTRY[name].title}: {entry['note']}" for name, entry in result.metrics.items() if "note" in entry
        ]
        texts += [f"{REGISTRY[name].title} is missing: {reason}" for name, reason in result.missing.items()]
        if result.warnings:
            more = f" (and {len(result.warnings) - 1} warnings more)" if len(result.warnings) > 1 else ""
            texts.append(result.warnings[0] + more)
        if result.dataset is not None and len(result.clips) < result.dataset["expected"]:
            texts.append(f"partial, {len(result.clips)} of {result.dataset['expected']} subjects")
        for text in texts:
            said.setdefault(text, []).append(result.label)
    return [f"{', '.join(labels)}: {text}." for text, labels in said.items()]
