"""The engine: clips in, one value of every metric out; decoded once, each network once a frame."""

import importlib.metadata
import logging
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eval.metrics.base import MeanMetric, NotComputable, ReportingMetric
from eval.metrics.frechet_interval import Samples, frechet_interval
from eval.metrics.registry import REGISTRY
from eval.metrics.spec import MetricSpec
from eval.networks.base import Network
from eval.networks.networks import Judge, Networks
from eval.networks.weights import WeightsMissing
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.features import ClipFeatures
from eval.scoring.protocol import Protocol
from eval.scoring.settings import ScoreSettings
from src.common.digests import arrays_sha256
from src.common.errors import UserError
from src.common.typed import plain

log = logging.getLogger(__name__)

SIDES = ("generated", "real")


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """What scoring found.

    Attributes:
        protocol: every choice.
        metrics: by name `value` (inf included) with its counts, notes, interval and network.
        missing: by name the reason.
        clips: each clip's `frames` and its own values of the metrics that are means.
        weights: by clip and metric, what the clip's value weighs in the pooled one.
        inputs: by clip, how many frames there were, and the SHA-256 of those of each side.
        sizes: of the frames, as "WxH".
        warnings: about the files.
    """

    protocol: Protocol
    metrics: dict[str, dict[str, Any]]
    missing: dict[str, str]
    clips: dict[str, dict[str, float]]
    weights: dict[str, dict[str, float]]
    inputs: dict[str, dict[str, Any]]
    sizes: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values, infinity as the string "inf", with the versions of the libraries that enter the numbers."""
        return {
            "protocol": plain(self.protocol),
            "metrics": {name: entry | {"value": to_json(entry["value"])} for name, entry in self.metrics.items()},
            "missing": self.missing,
            "clips": {
                clip: {name: to_json(value) for name, value in values.items()} for clip, values in self.clips.items()
            },
            "weights": self.weights,
            "inputs": self.inputs,
            "sizes": list(self.sizes),
            "warnings": list(self.warnings),
            "versions": library_versions(),
        }


def score(
    clips: Iterable[ScoredClip], settings: ScoreSettings, networks: Networks, *, store: FeatureStore | None = None
) -> ScoreResult:
    """Run metrics over clips, one after the other.

    A metric without its network, or that these data have no value of, is dropped with its reason in `missing`;
    the others go on.

    Args:
        clips: read as they are needed; each is let go of before the next.
        store: keeps features of real frames; None: nothing is kept.

    Raises:
        UserError: no clip, two of one name, poses by another extractor than the protocol's, or a network returned
            values that are not finite.
    """
    wanted, given = settings.protocol.mse_p.extractor, networks.extractor.name
    if given != wanted:
        raise UserError(
            f"protocol {settings.protocol.name} takes poses by {wanted}, but pose={given}: to depart from it, say so "
            f"in both: pose={given} protocol.mse_p.extractor={given}"
        )
    pools = {name: _Pool(REGISTRY[name], settings, networks) for name in settings.metrics}
    values: dict[str, dict[str, float]] = {}
    weights: dict[str, dict[str, float]] = {}
    inputs: dict[str, dict[str, Any]] = {}
    sizes: set[str] = set()
    notes: list[str] = []
    for clip in clips:
        if clip.name in values:
            raise UserError(f"two clips are called {clip.name}: give each a name of its own")
        for warning in clip.warnings:
            log.warning(warning)
        notes += clip.warnings
        sizes.add(f"{clip.generated.shape[2]}x{clip.generated.shape[1]}")
        values[clip.name], weights[clip.name] = {"frames": len(clip.generated)}, {}
        inputs[clip.name] = _input(clip)
        features = ClipFeatures(clip, networks, settings.protocol, store)
        for name, pool in pools.items():
            own = pool.add(features)
            if own is not None:
                values[clip.name][name], weights[clip.name][name] = own
    if not values:
        raise UserError("there is no clip to score")
    metrics = {name: entry for name, pool in pools.items() if (entry := pool.entry()) is not None}
    return ScoreResult(
        protocol=settings.protocol,
        metrics=metrics,
        missing={name: pool.missing for name, pool in pools.items() if pool.missing is not None},
        clips={clip: {k: v for k, v in own.items() if k == "frames" or k in metrics} for clip, own in values.items()},
        weights={clip: {k: v for k, v in own.items() if k in metrics} for clip, own in weights.items()},
        inputs=inputs,
        sizes=tuple(sorted(sizes)),
        warnings=tuple(notes),
    )


class _Pool:
    """One metric over all clips.

    Attributes:
        missing: why it has no value, or None.
    """

    def __init__(self, spec: MetricSpec, settings: ScoreSettings, networks: Networks) -> None:
        self.spec, self.protocol, self.networks = spec, settings.protocol, networks
        self.missing: str | None = None
        self.judge: Judge | None = None
        self.pooled: ReportingMetric | None = None
        self.own: list[float] = []
        self.samples: list[Samples] = []

    def add(self, features: ClipFeatures) -> tuple[float, float] | None:
        """Pool one clip; its own value and what that weighs, if it has one."""
        if self.missing is not None or not self._ready(features.clip):
            return None
        metric = self._fresh()
        try:
            self.spec.update(metric, features, self.judge)
        except NotComputable as error:
            return self._drop(f"clip {features.clip.name}: {error}")
        assert self.pooled is not None
        self.pooled.merge_state(metric)
        if self.spec.features is not None:
            generated, real = (self.spec.features(features, self.judge, side) for side in SIDES)
            self.samples.append((generated.cpu(), real.cpu()))
        if not isinstance(metric, MeanMetric):
            return None
        try:
            value = float(metric.compute())
        except NotComputable as error:
            log.warning("clip %s has no %s of its own: %s", features.clip.name, self.spec.key, error)
            return None
        self.own.append(value)
        return value, 1.0 if self.protocol.pooling == "videos" else float(metric.count)

    def entry(self) -> dict[str, Any] | None:
        """The pooled value and what is reported beside it; None, and `missing`, where there is none."""
        if self.missing is not None:
            return None
        try:
            value = self._value()
        except NotComputable as error:
            return self._drop(str(error))
        assert self.pooled is not None, "a metric without a value is missing"
        entry = {"value": value, **self.pooled.details(), **identity(self.judge)}
        if self.samples:
            interval = frechet_interval(self.samples, value)
            entry |= {"interval": list(interval)} if interval is not None else {}
        return entry

    def _ready(self, clip: ScoredClip) -> bool:
        """Whether the clip has what the metric needs, and the metric its network."""
        spec = self.spec
        for needed, given, what in (
            (spec.needs_real, clip.real, "the ground truth: real=<folder or video>"),
            (spec.needs_reference, clip.reference, "the reference image: reference=<image>"),
            (spec.needs_poses, clip.poses, "the real frames' poses: poses=<keypoints .npz, or a folder of <clip>.npz>"),
        ):
            if needed and given is None:
                self._drop(f"needs {what}")
                return False
        if self.pooled is None:
            try:
                self.judge = spec.judge(self.networks, self.protocol)
                self.pooled = self._fresh()
            except WeightsMissing as error:
                self._drop(str(error))
                return False
        return True

    def _fresh(self) -> ReportingMetric:
        return self.spec.build(self.protocol, self.judge).to(self.networks.device)

    def _value(self) -> float:
        if self.protocol.pooling == "videos" and isinstance(self.pooled, MeanMetric):
            if not self.own:
                raise NotComputable("no clip has a value of it")
            finite = [value for value in self.own if math.isfinite(value)]
            return sum(finite) / len(finite) if finite else math.inf
        with warnings.catch_warnings():
            # The states came by merging, which torchmetrics does not count as an update.
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            assert self.pooled is not None
            return float(self.pooled.compute())

    def _drop(self, reason: str) -> None:
        log.warning("%s is missing: %s", self.spec.key, reason)
        self.missing = reason


def _input(clip: ScoredClip) -> dict[str, Any]:
    sides = {"generated_sha256": clip.generated, "real_sha256": clip.real}
    sums = {name: arrays_sha256(frames) for name, frames in sides.items() if frames is not None}
    return {"frames": len(clip.generated), **sums}


def identity(judge: Judge | None) -> dict[str, Any]:
    """Name and checksum of a network, as a result records them."""
    if judge is None:
        return {}
    if isinstance(judge, Network):
        return {"network": {"name": judge.name, "sha256": judge.sha256}}
    return {"network": {"name": judge.name, "fingerprint": judge.fingerprint()}}


def to_json(value: float) -> float | str:
    """JSON has no infinity: the string "inf" stands for it."""
    if math.isnan(value):
        raise AssertionError("a metric computed NaN from finite inputs")
    return "inf" if math.isinf(value) else value


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose code enters the numbers."""
    names = ("torch", "torchvision", "torchmetrics", "scikit-image", "lpips", "clean-fid", "cd-fvd", "transformers")
    return {name: importlib.metadata.version(name) for name in (*names, "pillow", "av")}
