"""What a metric says of itself, and the ways in which a clip is brought to one.

Importing this loads no network and no metric.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from src.common.counting import counted
from src.common.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from eval.metrics.base import ReportingMetric
    from eval.networks.networks import Judge, Networks
    from eval.scoring.features import ClipFeatures
    from eval.scoring.protocol import Protocol

Side = Literal["generated", "real"]
Weighs = Literal["frames", "videos", "some"]
KEYPOINTS_FOUND = "of the keypoints found"
SIDES: tuple[Side, Side] = ("generated", "real")


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric.

    Attributes:
        key: its name on command lines and in results.
        title: its name in tables.
        group: the published tables' heading.
        format: Python format specification; the published tables' precision.
        higher_is_better: its direction.
        implementation: `module:Class` below `eval.metrics`; a `MeanMetric` or a `SampleMetric`.
        options: keyword arguments of the class, from the protocol and the network.
        network: what looks at the frames; it raises `WeightsMissing` where that is not to be had. None: nothing does.
        update: add one clip to the metric.
        needs_real, needs_reference, needs_poses: what must come with a clip.
        seen: of what the share is that a result calls `seen`; None: it gives none, since every clip has a value.
        weighs: what a clip weighs in the mean over frames: as many as it has; one, of a metric of whole videos; or
            `some`, the values that its frames have, of which not each need have one.
        values_a_frame: of how many values of one frame it is the mean at most.
        of_all_clips: it compares the frames or windows of all clips with the real ones, and no clip has a value of it.
    """

    key: str
    title: str
    group: str
    format: str
    higher_is_better: bool
    implementation: str
    update: "Callable[[Any, ClipFeatures, Any], None]"
    options: "Callable[[Protocol, Any], dict[str, Any]]" = lambda protocol, judge: {}
    network: "Callable[[Networks, Protocol], Judge] | None" = None
    needs_real: bool = True
    needs_reference: bool = False
    needs_poses: bool = False
    seen: str | None = None
    weighs: Weighs = "frames"
    values_a_frame: int = 1
    of_all_clips: bool = False

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    @property
    def heading(self) -> str:
        """Title and direction."""
        return f"{self.title} {self.arrow}"

    def judge(self, networks: "Networks", protocol: "Protocol") -> "Judge | None":
        """The network of this metric, or None if it has none."""
        return None if self.network is None else self.network(networks, protocol)

    def build(self, protocol: "Protocol", judge: "Judge | None") -> "ReportingMetric":
        """A fresh metric that has seen no clip."""
        module, _, name = self.implementation.partition(":")
        return getattr(importlib.import_module(f"eval.metrics.{module}"), name)(**self.options(protocol, judge))


def pairs(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    for generated_BCHW, real_BCHW in features.pairs():
        metric.update(generated_BCHW, real_BCHW)


def distances(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.per_pair(judge))


def poses(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(*features.poses(judge))


def to_reference(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.per_frame(judge, "generated"), features.reference(judge))


def embeddings(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.per_frame(judge, "generated"))


def region(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    poses, start = features.clip.poses, 0
    if poses is None or len(poses) != len(features.clip.generated):
        raise UserError(
            f"{counted(len(features.clip.generated), 'frame')} with "
            f"{counted(0 if poses is None else len(poses), 'pose')}: give the poses of those frames"
        )
    for generated_BCHW, real_BCHW in features.pairs():
        metric.update(generated_BCHW, real_BCHW, poses[start : start + len(real_BCHW)])
        start += len(real_BCHW)


def frechet(of: "Callable[[ClipFeatures, Any, Side], Tensor]") -> "Callable[[Any, ClipFeatures, Any], None]":
    def update(metric: Any, features: "ClipFeatures", judge: Any) -> None:
        for side in SIDES:
            metric.update(of(features, judge, side), real=side == "real", frames=len(features.clip.generated))

    return update


def frames(features: "ClipFeatures", judge: Any, side: Side) -> "Tensor":
    return features.per_frame(judge, side)


def windows(features: "ClipFeatures", judge: Any, side: Side) -> "Tensor":
    return features.per_window(judge, side)
