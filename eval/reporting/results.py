"""Results on disk: what `eval.score` and the benchmark runner write and the report reads.

A result is the JSON object of `eval.scoring.score.ScoreResult.as_dict` with the run's identity beside it:

- `benchmark`, `method`, `num_frames` (training frames, NFs in the paper): null where nobody said; a method without a
  name is called like its file;
- `files`: by clip, `generated` and `real` paths, for the report's videos;
- `dataset` (runner only): `expected` subjects, and by name the reason of each that is `absent` or `failed`.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from eval.metrics.registry import REGISTRY
from eval.reporting.intervals import Estimate, mean_estimate, paired_difference
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.reading import read_json
from src.common.typed import typed
from src.models.settings import STAND_INS

log = logging.getLogger(__name__)

UNNAMED = "unnamed"  # the benchmark that nobody named


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


@dataclass(frozen=True)
class Result:
    """One method on one benchmark, scored by one protocol.

    Attributes:
        metrics: by name, `value` (a float, inf included) and what was reported beside it.
        missing: by name, the reason.
        clips: by subject, `frames` and its own values of the metrics that are means.
        sizes: of the frames, as "WxH".
        variant: what it is called in the report of a sweep, or None.
        model: name of our base model; None where nobody said, as of other systems.
        weights: by subject and metric, what the subject's value weighs in the pooled one.
        inputs: by subject, the number of its frames and their checksums.
        setup: how its frames were made; None where nobody said.
        found: by subject and metric of poses, the share of the real keypoints that were found.
        seconds: by stage (`sample`, …), as it ran: of a sweep what a subject took on average, of a benchmark's run the
            total; None where nobody said.
        hardware, command, commit: where it was scored, how, and by which code, as far as it says.
        settings: by group, those of the run; empty where nobody said.
        told: what tells it from others of its method in a table, or None; see `eval.reporting.told_apart`.
    """

    path: Path
    benchmark: str
    method: str
    num_frames: int | None
    protocol: Protocol
    metrics: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, str]
    clips: Mapping[str, Mapping[str, float]]
    sizes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    files: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    dataset: DatasetState | None = None
    variant: str | None = None
    model: str | None = None
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    setup: Setup | None = None
    found: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    hardware: str | None = None
    command: str | None = None
    commit: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: str | None = None

    @property
    def stand_in(self) -> str | None:
        """Why its weights are none that published numbers are of; None: nothing is known against them."""
        if self.setup is not None and self.setup.stand_in is not None:
            return self.setup.stand_in
        return f"model={self.model}" if self.model in STAND_INS else None

    @property
    def label(self) -> str:
        named = self.method if self.num_frames is None else f"{self.method} ({self.num_frames})"
        return ", ".join(filter(None, (named if self.variant is None else self.variant, self.told)))

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95 % interval of a metric over the subjects, its runner's own where that gave one.

        None with fewer subjects than `MIN_SUBJECTS`, and for FID and FVD, which no subject has a value of, where the
        result gives none.
        """
        given = self.metrics[metric].get("interval")
        if given is not None:
            return float(given[0]), float(given[1])
        values = {clip: numbers[metric] for clip, numbers in self.clips.items() if metric in numbers}
        weights = self._weights(metric, values)
        estimate = None if weights is None else mean_estimate(list(values.values()), weights)
        return None if estimate is None else estimate.interval

    def same_frames(self, other: "Result", clip: str) -> bool:
        """Whether a subject's true frames are, as far as both results say, the same."""
        mine, theirs = (result.inputs.get(clip, {}).get("real_sha256") for result in (self, other))
        return mine is None or theirs is None or mine == theirs

    def difference(self, baseline: "Result", metric: str) -> Estimate | None:
        """Mean difference from another result over the subjects that both have, with its paired interval and test.

        None where they share no subject with a finite value, as for FID and FVD.
        """
        mine, theirs = (
            {clip: numbers[metric] for clip, numbers in result.clips.items() if metric in numbers}
            for result in (self, baseline)
        )
        theirs = {clip: value for clip, value in theirs.items() if self.same_frames(baseline, clip)}
        weights = self._weights(metric, mine)
        estimate = paired_difference(mine, theirs, dict(zip(mine, weights or [1.0] * len(mine), strict=True)))
        # Without its weights the difference has a value, and nothing that belongs to its estimator.
        return estimate if weights or estimate is None else replace(estimate, interval=None, p_value=None)

    def _weights(self, metric: str, clips: Iterable[str]) -> list[float] | None:
        """What each subject weighs in the pooled value, so that an interval belongs to the same estimator.

        Results of version 0.1 do not say it: there it is the subject's frames, or one for the mean over videos; and not
        known, None, for MSE-P, whose weights are the keypoints that were found. Nor is it where a result says it of
        some subjects alone.
        """
        if self.protocol.pooling == "videos":
            return [1.0 for _ in clips]
        if self.weights:
            known = [self.weights.get(clip, {}).get(metric) for clip in clips]
            return [weight for weight in known if weight is not None] if None not in known else None
        if metric.startswith("mse-p"):
            return None
        return [1.0 if metric.startswith("clip-t") else self.clips[clip]["frames"] for clip in clips]


def load_results(paths: Sequence[Path]) -> list[Result]:
    """Read result files, and all those in folders and below.

    JSON files that are no results are passed over.

    Raises:
        UserError: a path does not exist, a result is malformed, or there is none.
    """
    results = []
    for path in paths:
        if not path.exists():
            several = f"; several are results=[{path}]" if "," in str(path) else ""
            raise UserError(f"results={path} does not exist: give a result file or a folder that holds some{several}")
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            value = read_json(file)
            if isinstance(value, dict) and {"protocol", "metrics", "missing"} <= set(value):
                results.append(_result(file, value))
            elif path.is_dir():
                log.debug("%s is not a result: passed over", file)
            else:
                raise UserError(f"{file} is not a result of eval.score or eval.run")
    if not results:
        raise UserError(f"no results in {', '.join(map(str, paths))}: run eval.score or eval.run first")
    return results


def _result(file: Path, value: Mapping[str, Any]) -> Result:
    known = {field.name for field in fields(_Stored)}
    try:
        stored = typed(_Stored, {key: entry for key, entry in value.items() if key in known})
        metrics = {name: {**entry, "value": _number(entry, name)} for name, entry in stored.metrics.items()}
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    unknown = [name for name in metrics if name not in REGISTRY]
    if unknown:
        raise UserError(f"{file} holds metrics that are unknown here: {', '.join(unknown)}")
    return Result(
        path=file,
        benchmark=stored.benchmark or UNNAMED,
        method=stored.method or file.stem,
        num_frames=stored.num_frames,
        protocol=stored.protocol,
        metrics=metrics,
        missing=stored.missing,
        clips={
            clip: {name: math.inf if number == "inf" else number for name, number in values.items()}
            for clip, values in stored.clips.items()
        },
        sizes=tuple(stored.sizes),
        warnings=tuple(stored.warnings),
        files=stored.files,
        dataset=stored.dataset,
        variant=stored.variant,
        model=stored.model,
        weights=stored.weights,
        inputs=stored.inputs,
        setup=stored.setup,
        found={
            clip: {name: share for name, share in shares.items() if name in REGISTRY}
            for clip, shares in stored.found.items()
        },
        seconds=stored.seconds,
        hardware=stored.hardware,
        command=stored.command,
        commit=None if stored.git is None else str(stored.git.get("commit")),
        settings=stored.settings,
    )


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What of a result file the report reads; the rest of it is for people."""

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
        for clip, values in self.clips.items():
            count = values.get("frames")
            if not isinstance(count, int | float) or count < 1:
                raise UserError(f"clips.{clip} does not say how many frames it has: score again")
        for clip, named in self.files.items():
            if missing := sorted({"generated", "real"} - named.keys()):
                raise UserError(f"files.{clip} does not name its {missing[0]} frames: score again")


def _number(entry: Mapping[str, Any], name: str) -> float:
    match entry:
        case {"value": "inf"}:
            return math.inf
        case {"value": int() | float() as value} if math.isfinite(value) and not isinstance(value, bool):
            return float(value)
    raise UserError(f"metrics.{name} has no value that is a number: score again")
