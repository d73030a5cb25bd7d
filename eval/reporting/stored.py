"""What of a result file the reports read: typed, since anybody may have written it; the rest of it is for people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.typed import check_range, typed

# What no value, weight, count or time reaches, so that sums and squares of them stay finite.
MOST = 1e12


@dataclass(frozen=True, kw_only=True)
class DatasetState:
    """How much of a data set a result rests on.

    Attributes:
        expected: subjects.
        expected_frames: held-out frames of each; None: nobody said.
        absent, failed, waiting: by name, why a subject is not there.
        name, manifest: which one, for people.
    """

    expected: int
    expected_frames: int | None = None
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    manifest: dict[str, str] | None = None

    def __post_init__(self) -> None:
        check_range("dataset.expected", self.expected, least=0, most=MOST)
        check_range("dataset.expected_frames", self.expected_frames, least=0, most=MOST)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the frames of a row were made.

    Attributes:
        frames: sizes of the generated frames, before any resizing.
        subjects: how many there should be.
        resize: filter by which they were brought to the real frames' size; None: they had it.
        driven_by: the condition that they follow; trains: what is learnt of each person, None: nothing.
        sources: where conditions and masks are from, each with the number of subjects that had it.
        stand_in: why the weights are none that published numbers are of; None: nothing is known against them.
    """

    frames: list[str] = field(default_factory=list)
    subjects: int = 0
    resize: str | None = None
    driven_by: str | None = None
    trains: str | None = None
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    stand_in: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoredValue:
    """What stands beside a metric's value; `network`: what judged it."""

    frames: int = 0
    clips: int = 0
    interval: tuple[float, float] = (0.0, 0.0)
    note: str = ""
    seen: float = 0.0
    network: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        check_range("frames", self.frames, least=0, most=MOST)
        check_range("seen", self.seen, least=0, most=1)
        if self.network and not self.network.get("name"):
            raise UserError("network has no name: score again")


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """A result file, but for what the reports do not ask of it."""

    protocol: Protocol
    metrics: dict[str, dict[str, Any]]
    missing: dict[str, str]
    benchmark: str | None = None
    method: str | None = None
    num_frames: int | None = None
    variant: str | None = None
    model: str | None = None
    clips: dict[str, dict[str, float | Literal["inf"]]] = field(default_factory=dict)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    inputs: dict[str, dict[str, str | int]] = field(default_factory=dict)
    sizes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, dict[str, str | None]] = field(default_factory=dict)
    dataset: DatasetState | None = None
    setup: Setup | None = None
    found: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float | None] = field(default_factory=dict)
    hardware: str | None = None
    command: str | None = None
    git: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_range("num_frames", self.num_frames, least=0, most=MOST)
        for clip, values in self.clips.items():
            count = values.get("frames")
            if not isinstance(count, int | float) or count < 1:
                raise UserError(f"clips.{clip} does not say how many frames it has: score again")
        known = {clip: {name: own for name, own in of.items() if own != "inf"} for clip, of in self.clips.items()}
        for what, by_clip, least, most in (
            ("clips", known, -MOST, MOST),
            ("weights", self.weights, 0, MOST),
            ("found", self.found, 0, 1),
            ("seconds", {"": self.seconds}, 0, MOST),
        ):
            for clip, numbers in by_clip.items():
                for name, value in numbers.items():
                    check_range(".".join(filter(None, (what, clip, name))), value, least=least, most=most)
        for clip, named in self.files.items():
            if missing := sorted({"generated", "real"} - named.keys()):
                raise UserError(f"files.{clip} does not name its {missing[0]} frames: score again")


Stored = TypeVar("Stored", StoredResult, StoredValue)


def known_of(cls: type[Stored], values: Mapping[str, Any], where: str = "") -> Stored:
    """Of what a file holds the fields of a dataclass; a file may hold more.

    Args:
        where: as of `typed`.

    Raises:
        UserError: as of `typed`.
    """
    names = {field.name for field in fields(cls)}
    return typed(cls, {key: value for key, value in values.items() if key in names}, where)


def number(entry: Mapping[str, Any], name: str) -> float:
    """A metric's value, where it and what stands beside it are what they must be.

    Raises:
        UserError: they are not.
    """
    known_of(StoredValue, entry, f"metrics.{name}")
    match entry:
        case {"value": "inf"}:
            return math.inf
        case {"value": int() | float() as value} if abs(value) <= MOST and not isinstance(value, bool):
            return float(value)
    raise UserError(f"metrics.{name} has no value that is a number of at most {MOST:.0e}: score again")
