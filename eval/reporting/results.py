"""Results on disk: what `eval.score` and the benchmark runner write and the report reads.

A result is the JSON object of `eval.scoring.score.ScoreResult.as_dict` with the run's identity beside it:

- `benchmark`, `method`, `num_frames` (training frames, NFs in the paper): null where nobody said; a method without a
  name is called like its file;
- `files`: by clip, `generated` and `real` paths, for the report's videos;
- `dataset` (of benchmarks, sweeps): `expected` subjects, and by name the reason of each that is `absent` or `failed`.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.registry import REGISTRY
from eval.reporting.intervals import Estimate, mean_estimate, paired_difference
from eval.reporting.stored import DatasetState, Setup, StoredResult, known_of, number
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.reading import read_json
from src.models.settings import STAND_INS

log = logging.getLogger(__name__)

UNNAMED = "unnamed"  # the benchmark that nobody named


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
        found: by subject and metric, the share that `MetricSpec.seen` describes.
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
        """95 % interval of a metric over the subjects, from their values; of FID, FVD and the like, of which no subject
        has a value, the one that the result gives.

        None with fewer subjects than `MIN_SUBJECTS`.
        """
        if REGISTRY[metric].of_all_clips:
            given = self.metrics[metric].get("interval")
            return None if given is None else (float(given[0]), float(given[1]))
        values = {clip: numbers[metric] for clip, numbers in self.clips.items() if metric in numbers}
        if not values:
            return None
        weights = self._weights(metric, values)
        estimate = None if weights is None else mean_estimate(list(values.values()), weights)
        return None if estimate is None else estimate.interval

    def same_frames(self, other: "Result", clip: str) -> bool:
        """Whether a subject's true frames are, as far as both results say, the same."""
        mine, theirs = (result.inputs.get(clip, {}).get("real_sha256") for result in (self, other))
        return mine is None or theirs is None or mine == theirs

    def difference(self, baseline: "Result", metric: str) -> Estimate | None:
        """Mean difference from another result over the subjects that both have, with its paired interval and test.

        A subject weighs the mean of what it weighs in both: of the one from the other the difference is the same, with
        another sign. None where they share no subject with a finite value, as for FID and FVD.
        """
        pair = (self, baseline)
        having = [clip for clip in self.clips if all(metric in result.clips.get(clip, {}) for result in pair)]
        shared = [clip for clip in having if self.same_frames(baseline, clip)]
        if not shared:
            return None
        mine, theirs = ({clip: result.clips[clip][metric] for clip in shared} for result in pair)
        sides = [weights for result in pair if (weights := result._weights(metric, shared)) is not None]
        known = len(sides) == len(pair)
        weights = np.mean(sides, axis=0).tolist() if known else [1.0] * len(shared)
        estimate = paired_difference(mine, theirs, dict(zip(shared, weights, strict=True)))
        # Without its weights the difference has a value, and nothing that belongs to its estimator.
        return estimate if known or estimate is None else replace(estimate, interval=None, p_value=None)

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
        return [1.0 if REGISTRY[metric].weighs == "videos" else self.clips[clip]["frames"] for clip in clips]


def some_clips(clips: Mapping[str, Mapping[str, Any]], metric: str) -> str | None:
    """Of which clips a metric's value is, where some have none: those that show no hand, for one; None: of all."""
    lacking = [clip for clip, own in clips.items() if metric not in own]
    if not 0 < len(lacking) < len(clips):
        return None
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return f"of {len(clips) - len(lacking)} of {len(clips)} clips, without {', '.join(lacking[:3])}{more}"


def load_results(paths: Sequence[Path]) -> list[Result]:
    """Read result files, and all those in folders and below.

    JSON files that are no results are passed over, and so is what was read before.

    Raises:
        UserError: a path does not exist, a result is malformed, or there is none.
    """
    results, seen = [], set[Path]()
    for path in paths:
        if not path.exists():
            several = f"; several are results=[{path}]" if "," in str(path) else ""
            raise UserError(f"results={path} does not exist: give a result file or a folder that holds some{several}")
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            if file.is_dir() or (whole := file.resolve()) in seen:
                continue
            seen.add(whole)
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
    try:
        stored = known_of(StoredResult, value)
        metrics = {name: {**entry, "value": number(entry, name)} for name, entry in stored.metrics.items()}
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
            clip: {
                name: math.inf if own == "inf" else own
                for name, own in values.items()
                if name == "frames" or name in REGISTRY
            }
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
        commit=_commit(stored.git or {}),
        settings=stored.settings,
    )


def _commit(git: Mapping[str, Any]) -> str | None:
    """Of the code that scored, as far as a result says; one that files differed from gives no such result again."""
    if (commit := git.get("commit")) is None:
        return None
    return f"{commit}, with changes that are in no commit" if git.get("modified") else str(commit)
