"""The metrics by name, and the engine that runs them over clips: decoded once, each network once a frame."""

import importlib.metadata
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from eval.metrics.base import MeanMetric, NotComputable
from eval.metrics.clip_i import CLIPI
from eval.metrics.clip_t import CLIPT
from eval.metrics.fid import FID
from eval.metrics.frechet import FrechetMetric
from eval.metrics.frechet_interval import Samples, frechet_interval
from eval.metrics.fvd import FVD
from eval.metrics.lpips import LPIPS
from eval.metrics.mse_p import MSEP
from eval.metrics.psnr import PSNR
from eval.metrics.region_psnr import RegionPSNR
from eval.metrics.ssim import SSIM
from eval.networks.feature_networks import Network
from eval.networks.weights import WeightsMissing
from eval.scoring.clips import Clip
from eval.scoring.features import ClipView, Side, Toolbox
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor

log = logging.getLogger(__name__)

Judge = Network | PoseExtractor


@dataclass(frozen=True)
class Recipe:
    """How a metric is built and fed.

    Attributes:
        judge: its network or extractor; None: it has none.
        build: a fresh metric, with the judge.
        feed: add one clip.
        needs_real, needs_reference: what must be given.
    """

    judge: Callable[[Toolbox], Judge | None]
    build: Callable[[Toolbox], Metric]
    feed: Callable[[Any, ClipView], None]
    needs_real: bool = True
    needs_reference: bool = False


def _feed_pairs(metric: SSIM | PSNR | LPIPS, view: ClipView) -> None:
    for generated_BCHW, real_BCHW in view.pairs():
        metric.update(generated_BCHW, real_BCHW)


def _feed_fid(metric: FID, view: ClipView) -> None:
    for side in ("generated", "real"):
        metric.update(view.inception(side), real=side == "real", frames=len(view.clip.generated))


def _feed_fvd(metric: FVD, view: ClipView) -> None:
    for side in ("generated", "real"):
        metric.update(view.i3d(side), real=side == "real", frames=len(view.clip.generated))


def _mse_p(judge: Callable[[Toolbox], PoseExtractor]) -> Recipe:
    def feed(metric: MSEP, view: ClipView) -> None:
        metric.update(*view.poses(judge(view.tools)))

    return Recipe(judge, lambda tools: MSEP(), feed)


def _clip_i(judge: Callable[[Toolbox], Network]) -> Recipe:
    def feed(metric: CLIPI, view: ClipView) -> None:
        network = judge(view.tools)
        metric.update(view.embeddings(network), view.reference(network))

    return Recipe(judge, lambda tools: CLIPI(), feed, needs_real=False, needs_reference=True)


def _clip_t(judge: Callable[[Toolbox], Network]) -> Recipe:
    def feed(metric: CLIPT, view: ClipView) -> None:
        metric.update(view.embeddings(judge(view.tools)))

    return Recipe(judge, lambda tools: CLIPT(), feed, needs_real=False)


def _region(region: str) -> Recipe:
    def feed(metric: RegionPSNR, view: ClipView) -> None:
        if view.clip.poses is None:
            raise NotComputable("needs the real frames' poses: poses=<keypoints .npz, or a folder of <clip>.npz>")
        metric.update(view.frames("generated"), view.frames("real"), view.clip.poses)

    return Recipe(lambda tools: None, lambda tools: RegionPSNR(region), feed)


RECIPES: dict[str, Recipe] = {
    "ssim": Recipe(lambda tools: None, lambda tools: SSIM(**vars(tools.protocol.ssim)), _feed_pairs),
    "psnr": Recipe(lambda tools: None, lambda tools: PSNR(**vars(tools.protocol.psnr)), _feed_pairs),
    "lpips": Recipe(lambda tools: tools.lpips, lambda tools: LPIPS(tools.lpips), _feed_pairs),
    "mse-p": _mse_p(lambda tools: tools.extractor),
    "fid": Recipe(lambda tools: tools.inception, lambda tools: FID(tools.inception.num_features), _feed_fid),
    "clip-i": _clip_i(lambda tools: tools.clip),
    "fvd": Recipe(lambda tools: tools.i3d, lambda tools: FVD(tools.i3d.num_features), _feed_fvd),
    "clip-t": _clip_t(lambda tools: tools.clip),
    "psnr-face": _region("face"),
    "psnr-hands": _region("hands"),
    "mse-p-mini": _mse_p(lambda tools: tools.extractor_mini),
    "clip-i-mini": _clip_i(lambda tools: tools.clip_mini),
    "clip-t-mini": _clip_t(lambda tools: tools.clip_mini),
}


# What a Fréchet distance compares, by side of a clip.
FRECHET: dict[str, Callable[[ClipView, Side], Tensor]] = {"fid": ClipView.inception, "fvd": ClipView.i3d}


class Scorer:
    """Runs metrics over clips, one after the other.

    A metric without its network, or that these data have no value of, is dropped with its reason in `missing`;
    the others go on.

    Args:
        names: keys of `RECIPES`.
        real, reference: whether the clips come with them.
        bootstrap: resamples of the subjects for the intervals of FID and FVD; 0: none.

    Raises:
        UserError: a name is unknown or given twice.
    """

    def __init__(
        self, names: Sequence[str], tools: Toolbox, *, real: bool, reference: bool, bootstrap: int = 0
    ) -> None:
        unknown = [name for name in names if name not in RECIPES]
        if unknown or len(set(names)) < len(names) or not names:
            raise UserError(
                f"metrics must be some of {', '.join(RECIPES)}, each once; got {', '.join(names) or 'none'}"
            )
        self.tools = tools
        self.missing: dict[str, str] = {}
        self.clips: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []
        self.sizes: set[str] = set()
        self._names = tuple(names)
        self._pooled: dict[str, Metric] = {}
        self._bootstrap = bootstrap
        self._samples: dict[str, list[Samples]] = {}
        for name in names:
            recipe = RECIPES[name]
            if recipe.needs_real and not real:
                self._drop(name, "needs the ground truth: real=<folder or video>")
            elif recipe.needs_reference and not reference:
                self._drop(name, "needs the reference image: reference=<image>")
            else:
                try:
                    recipe.judge(tools)
                    self._pooled[name] = recipe.build(tools).to(tools.device)
                except WeightsMissing as error:
                    self._drop(name, str(error))

    def add(self, clip: Clip) -> None:
        """Score one clip and pool it with those before.

        Raises:
            UserError: a clip of this name was added before, or a network returned values that are not finite.
        """
        if clip.name in self.clips:
            raise UserError(f"the clip {clip.name} was scored already")
        for warning in clip.warnings:
            log.warning(warning)
        self.warnings += clip.warnings
        self.sizes.add(f"{clip.generated.shape[2]}x{clip.generated.shape[1]}")
        self.clips[clip.name] = values = {"frames": len(clip.generated)}
        view = ClipView(clip, self.tools)
        for name in list(self._pooled):
            metric = RECIPES[name].build(self.tools).to(self.tools.device)
            try:
                RECIPES[name].feed(metric, view)
            except NotComputable as error:
                self._drop(name, f"clip {clip.name}: {error}")
                continue
            self._pooled[name].merge_state(metric)
            if self._bootstrap and name in FRECHET:
                sides = (FRECHET[name](view, side) for side in ("generated", "real"))
                self._samples.setdefault(name, []).append(tuple(side.cpu() for side in sides))
            if isinstance(metric, MeanMetric):
                try:
                    values[name] = float(metric.compute())
                except NotComputable as error:
                    log.warning("clip %s has no %s of its own: %s", clip.name, name, error)

    def result(self) -> dict[str, Any]:
        """Values of all clips together, JSON-ready.

        `protocol`: every choice; `metrics`: by name `value` (the string "inf" for infinity) with its counts, notes and
        network; `missing`: by name the reason; `clips`: each clip's `frames` and its own values of the metrics that
        are means; `sizes` of the frames; `warnings` about the files; `versions` of the libraries.
        """
        metrics: dict[str, dict[str, Any]] = {}
        for name in list(self._pooled):
            try:
                value = self._value(name)
            except NotComputable as error:
                self._drop(name, str(error))
                continue
            metrics[name] = {"value": to_json(value), **self._pooled[name].details()} | self._judge(name)
            if name in self._samples:
                interval = frechet_interval(self._samples[name], value, resamples=self._bootstrap)
                metrics[name] |= {"interval": interval} if interval is not None else {}
        clips = {
            clip: {name: to_json(value) for name, value in values.items() if name in metrics or name == "frames"}
            for clip, values in self.clips.items()
        }
        return {
            "protocol": self.tools.protocol.as_dict(),
            "metrics": metrics,
            "missing": {name: self.missing[name] for name in self._names if name in self.missing},
            "clips": clips,
            "sizes": sorted(self.sizes),
            "warnings": self.warnings,
            "versions": library_versions(),
        }

    def _value(self, name: str) -> float:
        metric = self._pooled[name]
        if self.tools.protocol.pooling == "videos" and not isinstance(metric, FrechetMetric):
            values = [clip[name] for clip in self.clips.values() if name in clip]
            if not values:
                raise NotComputable("no clip has a value of it")
            finite = [value for value in values if math.isfinite(value)]
            return sum(finite) / len(finite) if finite else math.inf
        with warnings.catch_warnings():
            # The states came by merging, which torchmetrics does not count as an update.
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            return float(metric.compute())

    def _judge(self, name: str) -> dict[str, Any]:
        judge = RECIPES[name].judge(self.tools)
        if judge is None:
            return {}
        if isinstance(judge, Network):
            return {"network": {"name": judge.name, "sha256": judge.sha256}}
        return {"network": {"name": judge.name, "fingerprint": judge.fingerprint()}}

    def _drop(self, name: str, reason: str) -> None:
        log.warning("%s is missing: %s", name, reason)
        self.missing[name] = reason
        self._pooled.pop(name, None)


def to_json(value: float) -> float | str:
    """JSON has no infinity: the string "inf" stands for it."""
    if math.isnan(value):
        raise AssertionError("a metric computed NaN from finite inputs")
    return "inf" if math.isinf(value) else value


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose code enters the numbers."""
    names = ("torch", "torchvision", "torchmetrics", "scikit-image", "lpips", "clean-fid", "cd-fvd", "transformers")
    return {name: importlib.metadata.version(name) for name in (*names, "pillow", "av")}


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but no GPU is available: use device=cpu")
    return device
