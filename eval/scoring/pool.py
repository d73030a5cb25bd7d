"""One metric over all clips of a run: each clip's own state, merged, with what is reported beside the value."""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from eval.metrics.base import MeanMetric, NotComputable, ReportingMetric
from eval.metrics.frechet import FrechetMetric
from eval.metrics.frechet_interval import Samples, frechet_interval
from eval.metrics.spec import MetricSpec
from eval.networks.base import Network
from eval.networks.networks import Judge, Networks
from eval.networks.weights import WeightsMissing
from eval.scoring.clip_store import ClipStore
from eval.scoring.clips import ScoredClip
from eval.scoring.features import ClipFeatures
from eval.scoring.libraries import code_versions
from eval.scoring.protocol import Protocol
from src.common.errors import UserError

log = logging.getLogger(__name__)


class Pool:
    """One metric over all clips.

    Attributes:
        missing: why it has no value, or None.
        found: by clip the share that `MetricSpec.seen` describes, of a metric that has one.
    """

    def __init__(self, spec: MetricSpec, protocol: Protocol, networks: Networks, done: ClipStore | None) -> None:
        self.spec, self.protocol, self.networks, self.done = spec, protocol, networks, done
        self.missing: str | None = None
        self.found: dict[str, float] = {}
        self.judge: Judge | None = None
        self.pooled: ReportingMetric | None = None
        self.own: list[float] = []
        self.samples: list[Samples] = []

    def add(
        self, clips: Sequence[ClipFeatures], contents: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, tuple[float, float]]:
        """Pool clips, whose frames share the networks' batches.

        Args:
            contents: by a clip's name, what it holds.

        Returns:
            By clip, its own value and what that weighs, if it has one.
        """
        if self.missing is not None or not all(self._ready(features.clip) for features in clips):
            return {}
        kept = {features.clip.name: self._kept(contents[features.clip.name]) for features in clips}
        waiting = [features for features in clips if kept[features.clip.name] is None]
        own: dict[str, tuple[float, float]] = {}
        for features in clips:
            name, features.peers = features.clip.name, waiting
            try:
                metric = kept[name] or self._made(features, contents[name])
            except NotComputable as error:
                self._drop(f"clip {name}: {error}")
                return {}
            if (value := self._pool(features, metric)) is not None:
                own[name] = value
        return own

    def _pool(self, features: ClipFeatures, metric: ReportingMetric) -> tuple[float, float] | None:
        """Merge one clip's metric; its value and what that weighs, if it has one."""
        assert self.pooled is not None
        self.pooled.merge_state(metric)
        if isinstance(metric, FrechetMetric):
            generated_ND, real_MD = metric.samples()
            self.samples.append((generated_ND.cpu(), real_MD.cpu()))
        if not isinstance(metric, MeanMetric):
            return None
        try:
            value = _computed(metric)
        except NotComputable as error:
            log.warning("clip %s has no %s of its own: %s", features.clip.name, self.spec.key, error)
            return None
        seen = metric.details().get("seen")
        if isinstance(seen, float):
            self.found[features.clip.name] = seen
        self.own.append(value)
        return value, 1.0 if self.protocol.pooling == "videos" else float(metric.count)

    def _kept(self, content: Mapping[str, Any]) -> ReportingMetric | None:
        """What `_made` made of a clip of that content before, if that was kept."""
        if self.done is None:
            return None
        metric = self._fresh()
        return metric if self.done.load(self._key(content), metric) else None

    def _made(self, features: ClipFeatures, content: Mapping[str, Any]) -> ReportingMetric:
        """A metric that has seen the one clip."""
        metric = self._fresh()
        self.spec.update(metric, features, self.judge)
        if self.done is not None:
            self.done.save(self._key(content), metric)
        return metric

    def _key(self, content: Mapping[str, Any]) -> tuple[Any, ...]:
        """All that a metric's state over a clip of that content depends on."""
        spec, networks = self.spec, self.networks
        judges = _known(self.judge), _known(networks.extractor)  # faces are found by the extractor
        how = self.protocol.content(), code_versions(), networks.device.type
        return content, spec.key, spec.implementation, *judges, *how

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
        assert self.pooled is not None
        return _computed(self.pooled)

    def _drop(self, reason: str) -> None:
        log.warning("%s is missing: %s", self.spec.key, reason)
        self.missing = reason


def _computed(metric: ReportingMetric) -> float:
    with warnings.catch_warnings():
        # The states came by merging or from a file, which torchmetrics does not count as an update.
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return float(metric.compute())


def _known(judge: Judge | None) -> dict[str, Any]:
    """The identity of what judges; nothing of an extractor without its weights, of which there is nothing to keep."""
    try:
        return identity(judge)
    except UserError:
        return {}


def identity(judge: Judge | None) -> dict[str, Any]:
    """Name and checksum of a network, as a result records them."""
    if judge is None:
        return {}
    if isinstance(judge, Network):
        return {"network": {"name": judge.name, "sha256": judge.sha256}}
    return {"network": {"name": judge.name, "fingerprint": judge.fingerprint()}}
