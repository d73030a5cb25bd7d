"""Results on disk: what `eval.score` and the benchmark runner write and the report reads.

A result is the JSON object of `eval.scoring.scorer.Scorer.result` with the run's identity beside it:

- `benchmark`, `method`, `num_frames` (training frames, NFs in the paper): null where nobody said;
- `files`: by clip, `generated` and `real` paths, for the report's videos;
- `dataset` (runner only): `expected` subjects, and by name the reason of each that is `absent` or `failed`.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.registry import REGISTRY
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.typed import typed

log = logging.getLogger(__name__)

RESAMPLES = 10_000
LEVEL = 0.95


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
    dataset: Mapping[str, Any] | None = None
    variant: str | None = None
    model: str | None = None

    @property
    def label(self) -> str:
        if self.variant is not None:
            return self.variant
        return self.method if self.num_frames is None else f"{self.method} ({self.num_frames})"

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95 % bootstrap interval of a metric over the subjects, its runner's own where that gave one.

        None with fewer than two subjects, and for FID and FVD, which no subject has a value of, where the result gives
        none.
        """
        given = self.metrics[metric].get("interval")
        if given is not None:
            return float(given[0]), float(given[1])
        values = {clip: numbers[metric] for clip, numbers in self.clips.items() if metric in numbers}
        return bootstrap_interval(list(values.values()), self._weights(metric, values))

    def difference(self, baseline: "Result", metric: str) -> tuple[float, tuple[float, float] | None] | None:
        """Mean difference from another result over the subjects that both have, and its paired bootstrap interval.

        None where they share no subject with a finite value, as for FID and FVD.
        """
        shared = {
            clip: numbers[metric] - baseline.clips[clip][metric]
            for clip, numbers in self.clips.items()
            if metric in numbers
            and metric in baseline.clips.get(clip, {})
            and math.isfinite(numbers[metric])
            and math.isfinite(baseline.clips[clip][metric])
        }
        if not shared:
            return None
        values, weights = list(shared.values()), self._weights(metric, shared)
        return float(np.average(values, weights=weights)), bootstrap_interval(values, weights)

    def _weights(self, metric: str, clips: Iterable[str]) -> list[float]:
        """What each subject weighs in the mean: its frames, or one."""
        by_video = self.protocol.pooling == "videos" or metric.startswith("clip-t")
        return [1.0 if by_video else self.clips[clip]["frames"] for clip in clips]


def bootstrap_interval(
    values: Sequence[float], weights: Sequence[float], *, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap of a weighted mean: 95 %, 10,000 resamples of the subjects with replacement.

    Infinite values (PSNR of identical clips) are left out, as in the mean. None with fewer than two values.

    >>> low, high = bootstrap_interval([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    >>> low < 2.5 < high
    True
    """
    finite = [(value, weight) for value, weight in zip(values, weights, strict=True) if math.isfinite(value)]
    if len(finite) < 2:
        return None
    value_S, weight_S = np.array(finite, np.float64).T
    picks_RS = np.random.default_rng(seed).integers(0, len(finite), (RESAMPLES, len(finite)))
    means_R = (value_S * weight_S)[picks_RS].sum(1) / weight_S[picks_RS].sum(1)
    low, high = np.percentile(means_R, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def load_results(paths: Sequence[Path]) -> list[Result]:
    """Read result files, and all those in folders and below.

    JSON files that are no results are passed over.

    Raises:
        UserError: a path does not exist, a result is malformed, or there is none.
    """
    results = []
    for path in paths:
        if not path.exists():
            raise UserError(f"results={path} does not exist: give a result file or a folder that holds some")
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            value = _read_json(file)
            if isinstance(value, dict) and {"protocol", "metrics", "missing"} <= set(value):
                results.append(_result(file, value))
            elif path.is_dir():
                log.debug("%s is not a result: passed over", file)
            else:
                raise UserError(f"{file} is not a result of eval.score or eval.run")
    if not results:
        raise UserError(f"no results in {', '.join(map(str, paths))}: run eval.score or eval.run first")
    return results


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}") from error


def _result(file: Path, value: Mapping[str, Any]) -> Result:
    unknown = [name for name in value["metrics"] if name not in REGISTRY]
    if unknown:
        raise UserError(f"{file} holds metrics that are unknown here: {', '.join(unknown)}")
    try:
        return Result(
            path=file,
            benchmark=value.get("benchmark") or "unnamed",
            method=value.get("method") or file.parent.name,
            num_frames=value.get("num_frames"),
            protocol=typed(Protocol, value["protocol"], "protocol"),
            metrics={name: {**entry, "value": float(entry["value"])} for name, entry in value["metrics"].items()},
            missing=value["missing"],
            clips={
                clip: {name: float(number) for name, number in values.items()}
                for clip, values in value.get("clips", {}).items()
            },
            sizes=tuple(value.get("sizes", ())),
            warnings=tuple(value.get("warnings", ())),
            files=value.get("files", {}),
            dataset=value.get("dataset"),
            variant=value.get("variant"),
            model=value.get("model"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise UserError(f"{file}: {error}") from error
        raise UserError(f"{file} is a malformed result: {error!r}; score again") from error
