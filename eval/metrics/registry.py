"""Every metric by its key: how tables print it, what it needs, and how a clip is brought to it.

Importing this loads no network and no metric: tables read it too. A metric's own file holds its arithmetic as a
torchmetrics class; the entry here says which network looks at the frames and what of a clip goes into `update`.

To add a metric: a file beside this one, its network in `eval.networks` if it has one, an entry in `REGISTRY`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric

    from eval.networks.networks import Judge, Networks
    from eval.scoring.features import ClipFeatures
    from eval.scoring.protocol import Protocol

Side = Literal["generated", "real"]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric.

    Attributes:
        key: its name on command lines and in results.
        title: its name in tables.
        group: the published tables' heading.
        format: Python format specification; the published tables' precision.
        higher_is_better: its direction.
        implementation: `module:Class` below `eval.metrics`; a `MeanMetric`, or a set metric where `features` is given.
        options: keyword arguments of the class, from the protocol and the network.
        network: what looks at the frames; it raises `WeightsMissing` where that is not to be had. None: nothing does.
        update: add one clip to the metric.
        needs_real, needs_reference, needs_poses: what must come with a clip.
        features: of a Fréchet distance, what it compares: (B, D) samples of one side of a clip.
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
    features: "Callable[[ClipFeatures, Any, Side], Tensor] | None" = None

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

    def build(self, protocol: "Protocol", judge: "Judge | None") -> "Metric":
        """A fresh metric that has seen no clip."""
        module, _, name = self.implementation.partition(":")
        return getattr(importlib.import_module(f"eval.metrics.{module}"), name)(**self.options(protocol, judge))


def _pairs(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    for generated_BCHW, real_BCHW in features.pairs():
        metric.update(generated_BCHW, real_BCHW)


def _poses(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(*features.poses(judge))


def _to_reference(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.per_frame(judge, "generated"), features.reference(judge))


def _embeddings(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.per_frame(judge, "generated"))


def _region(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.frames("generated"), features.frames("real"), features.clip.poses)


def _frechet(of: "Callable[[ClipFeatures, Any, Side], Tensor]") -> "Callable[[Any, ClipFeatures, Any], None]":
    def update(metric: Any, features: "ClipFeatures", judge: Any) -> None:
        for side in ("generated", "real"):
            metric.update(of(features, judge, side), real=side == "real", frames=len(features.clip.generated))

    return update


def _frames(features: "ClipFeatures", judge: Any, side: Side) -> "Tensor":
    return features.per_frame(judge, side)


def _windows(features: "ClipFeatures", judge: Any, side: Side) -> "Tensor":
    return features.per_window(judge, side)


SPECS = (
    MetricSpec(
        key="ssim",
        title="SSIM",
        group="Image-GT",
        format=".3f",
        higher_is_better=True,
        implementation="ssim:SSIM",
        options=lambda protocol, judge: vars(protocol.ssim),
        update=_pairs,
    ),
    MetricSpec(
        key="psnr",
        title="PSNR",
        group="Image-GT",
        format=".2f",
        higher_is_better=True,
        implementation="psnr:PSNR",
        options=lambda protocol, judge: vars(protocol.psnr),
        update=_pairs,
    ),
    MetricSpec(
        key="lpips",
        title="LPIPS",
        group="Image-GT",
        format=".3f",
        higher_is_better=False,
        implementation="lpips:LPIPS",
        network=lambda networks, protocol: networks.lpips(protocol.lpips.backbone, protocol.lpips.input_range),
        options=lambda protocol, judge: {"network": judge},
        update=_pairs,
    ),
    MetricSpec(
        key="mse-p",
        title="MSE-P",
        group="Image-GT",
        format=".2e",
        higher_is_better=False,
        implementation="mse_p:MSEP",
        network=lambda networks, protocol: networks.extractor,
        update=_poses,
    ),
    MetricSpec(
        key="mse-p-penalised",
        title="MSE-P-penalised",
        group="Image-GT",
        format=".2e",
        higher_is_better=False,
        implementation="mse_p_penalised:PenalisedMSEP",
        network=lambda networks, protocol: networks.extractor,
        update=_poses,
    ),
    MetricSpec(
        key="fid",
        title="FID",
        group="Image",
        format=".2f",
        higher_is_better=False,
        implementation="fid:FID",
        network=lambda networks, protocol: networks.inception(protocol.fid.network),
        options=lambda protocol, judge: {"num_features": judge.num_features},
        update=_frechet(_frames),
        features=_frames,
    ),
    MetricSpec(
        key="clip-i",
        title="CLIP-I",
        group="Image",
        format=".3f",
        higher_is_better=True,
        implementation="clip_i:CLIPI",
        network=lambda networks, protocol: networks.clip(protocol.clip.model),
        update=_to_reference,
        needs_real=False,
        needs_reference=True,
    ),
    MetricSpec(
        key="fvd",
        title="FVD",
        group="Video",
        format=".2f",
        higher_is_better=False,
        implementation="fvd:FVD",
        network=lambda networks, protocol: networks.i3d(protocol.fvd.network),
        options=lambda protocol, judge: {"num_features": judge.num_features},
        update=_frechet(_windows),
        features=_windows,
    ),
    MetricSpec(
        key="clip-t",
        title="CLIP-T",
        group="Video",
        format=".3f",
        higher_is_better=True,
        implementation="clip_t:CLIPT",
        network=lambda networks, protocol: networks.clip(protocol.clip.model),
        update=_embeddings,
        needs_real=False,
    ),
    MetricSpec(
        key="psnr-face",
        title="PSNR-face",
        group="Parts",
        format=".2f",
        higher_is_better=True,
        implementation="region_psnr:RegionPSNR",
        options=lambda protocol, judge: {"region": "face"},
        update=_region,
        needs_poses=True,
    ),
    MetricSpec(
        key="psnr-hands",
        title="PSNR-hands",
        group="Parts",
        format=".2f",
        higher_is_better=True,
        implementation="region_psnr:RegionPSNR",
        options=lambda protocol, judge: {"region": "hands"},
        update=_region,
        needs_poses=True,
    ),
    MetricSpec(
        key="mse-p-mini",
        title="MSE-P-mini",
        group="Mini judges",
        format=".2e",
        higher_is_better=False,
        implementation="mse_p:MSEP",
        network=lambda networks, protocol: networks.mini_extractor(),
        update=_poses,
    ),
    MetricSpec(
        key="mse-p-penalised-mini",
        title="MSE-P-penalised-mini",
        group="Mini judges",
        format=".2e",
        higher_is_better=False,
        implementation="mse_p_penalised:PenalisedMSEP",
        network=lambda networks, protocol: networks.mini_extractor(),
        update=_poses,
    ),
    MetricSpec(
        key="clip-i-mini",
        title="CLIP-I-mini",
        group="Mini judges",
        format=".3f",
        higher_is_better=True,
        implementation="clip_i:CLIPI",
        network=lambda networks, protocol: networks.mini_clip(),
        update=_to_reference,
        needs_real=False,
        needs_reference=True,
    ),
    MetricSpec(
        key="clip-t-mini",
        title="CLIP-T-mini",
        group="Mini judges",
        format=".3f",
        higher_is_better=True,
        implementation="clip_t:CLIPT",
        network=lambda networks, protocol: networks.mini_clip(),
        update=_embeddings,
        needs_real=False,
    ),
)
REGISTRY: dict[str, MetricSpec] = {spec.key: spec for spec in SPECS}
