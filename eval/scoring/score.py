"""The engine: clips in, one value of every metric out; decoded once, each network once a frame."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from eval.metrics.registry import REGISTRY
from eval.networks.networks import Networks
from eval.scoring.clip_store import ClipStore
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.features import ClipFeatures
from eval.scoring.libraries import library_versions
from eval.scoring.pool import Pool
from eval.scoring.protocol import Protocol
from eval.scoring.settings import ScoreSettings
from src.common.digests import arrays_sha256
from src.common.errors import UserError
from src.common.system import hardware
from src.common.typed import plain

log = logging.getLogger(__name__)

# Clips are held in memory together until they fill so many batches, or this many bytes.
BATCHES_TOGETHER = 4
BYTES_TOGETHER = 2**28
# Of 255. 12 bits in a file of 16, taken as they are, reach 16.
DARK = 17


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """What scoring found.

    Attributes:
        protocol: every choice.
        metrics: by name `value` (inf included) with its counts, notes, interval and network.
        missing: by name the reason.
        clips: each clip's `frames` and its own values of the metrics that are means.
        weights: by clip and metric, what the clip's value weighs in the pooled one.
        found: by clip and metric, the share that `MetricSpec.seen` describes: of the real keypoints that were found,
            or of the frames that show a face.
        inputs: the manifest: by clip, how many frames there were, and the SHA-256 of those of each side, of the
            reference image and of the poses that were given.
        sizes: of the frames, as "WxH".
        warnings: about the files.
        hardware: that computed it, in a line.
    """

    protocol: Protocol
    metrics: dict[str, dict[str, Any]]
    missing: dict[str, str]
    clips: dict[str, dict[str, float]]
    weights: dict[str, dict[str, float]]
    found: dict[str, dict[str, float]]
    inputs: dict[str, dict[str, Any]]
    sizes: tuple[str, ...]
    warnings: tuple[str, ...]
    hardware: str

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
            "found": self.found,
            "inputs": self.inputs,
            "sizes": list(self.sizes),
            "warnings": list(self.warnings),
            "hardware": self.hardware,
            "versions": library_versions(),
        }


def score(
    clips: Iterable[ScoredClip],
    settings: ScoreSettings,
    networks: Networks,
    *,
    store: FeatureStore | None = None,
    done: ClipStore | None = None,
) -> ScoreResult:
    """Run metrics over clips.

    Short clips are held together, so that their frames fill the networks' batches; each has its own value all the
    same, to the rounding of another batch, and its own windows. A metric without its network, or that these data have
    no value of, is dropped with its reason in `missing`; the others go on.

    Args:
        clips: read as they are needed; those that are held together are let go of before the next.
        store: keeps features of real frames; None: nothing is kept.
        done: keeps what each metric made of each clip, so that a run that was stopped goes on; None: nothing is kept.

    Raises:
        UserError: no clip, two of one name, poses by another extractor than the protocol's, or a network returned
            values that are not finite.
    """
    settings.protocol.check_extractor(networks.extractor.name)
    pools = {name: Pool(REGISTRY[name], settings.protocol, networks, done) for name in settings.metrics}
    values: dict[str, dict[str, float]] = {}
    weights: dict[str, dict[str, float]] = {}
    inputs: dict[str, dict[str, Any]] = {}
    sizes: set[str] = set()
    notes: list[str] = []
    for group in _together(clips, networks.batch_size):
        for clip in group:
            if clip.name in values:
                raise UserError(f"two clips are called {clip.name}: give each a name of its own")
            inputs[clip.name] = _input(clip)
            for warning in (doubts := [*clip.warnings, *_doubts(clip, inputs[clip.name])]):
                log.warning(warning)
            notes += doubts
            sizes.add(f"{clip.generated.shape[2]}x{clip.generated.shape[1]}")
            values[clip.name], weights[clip.name] = {"frames": len(clip.generated)}, {}
        features = [ClipFeatures(clip, networks, settings.protocol, store) for clip in group]
        for name, pool in pools.items():
            for clip, own in pool.add(features, inputs).items():
                values[clip][name], weights[clip][name] = own
    if not values:
        raise UserError("there is no clip to score")
    metrics = {name: entry for name, pool in pools.items() if (entry := pool.entry()) is not None}
    return ScoreResult(
        protocol=settings.protocol,
        metrics=metrics,
        missing={name: pool.missing for name, pool in pools.items() if pool.missing is not None},
        clips={clip: {k: v for k, v in own.items() if k == "frames" or k in metrics} for clip, own in values.items()},
        weights={clip: {k: v for k, v in own.items() if k in metrics} for clip, own in weights.items()},
        found={
            clip: shares
            for clip in values
            if (shares := {name: pools[name].found[clip] for name in metrics if clip in pools[name].found})
        },
        inputs=inputs,
        sizes=tuple(sorted(sizes)),
        warnings=tuple(notes),
        hardware=hardware(str(networks.device)),
    )


def _together(clips: Iterable[ScoredClip], batch_size: int) -> Iterator[list[ScoredClip]]:
    """Clips in groups that fill `BATCHES_TOGETHER` batches; those read before an error come before it."""
    group: list[ScoredClip] = []
    try:
        for clip in clips:
            group.append(clip)
            num_frames = sum(len(held.generated) for held in group)
            num_bytes = sum(side.nbytes for held in group for side in (held.generated, held.real) if side is not None)
            if num_frames >= BATCHES_TOGETHER * batch_size or num_bytes >= BYTES_TOGETHER:
                yield group
                group = []
    except Exception:  # Ctrl-C stops at once
        if group:
            yield group
        raise
    if group:
        yield group


def _input(clip: ScoredClip) -> dict[str, Any]:
    sums = {
        "generated_sha256": arrays_sha256(clip.generated),
        "real_sha256": clip.real_sha256,
        "reference_sha256": None if clip.reference is None else arrays_sha256(clip.reference),
        "poses_sha256": None if clip.poses is None else clip.poses.sha256(),
    }
    return {"frames": len(clip.generated)} | {name: value for name, value in sums.items() if value is not None}


def _doubts(clip: ScoredClip, sums: dict[str, Any]) -> Iterator[str]:
    """What of its frames, whatever they came from, a reader of the numbers must know."""
    if sums["generated_sha256"] == sums.get("real_sha256"):
        yield f"generated frames of {clip.name} are the true ones, to the bit"
    for side, frames in (("generated", clip.generated), ("real", clip.real)):
        if frames is not None and 0 < (brightest := int(frames.max())) < DARK:
            yield (
                f"{side} frames of {clip.name} are all but black, at most {brightest} of 255: samples of fewer bits "
                "than their type has must be scaled up first"
            )


def to_json(value: float) -> float | str:
    """JSON has no infinity: the string "inf" stands for it."""
    if math.isnan(value):
        raise AssertionError("a metric computed NaN from finite inputs")
    return "inf" if math.isinf(value) else value
