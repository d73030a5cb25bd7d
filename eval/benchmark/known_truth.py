"""How each metric answers to damage of known size: rendered people, where the truth of every frame is known.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.

What needs a network that is not at hand is left out. The table in `eval/metrics/README.md` was made so.
"""

import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from scipy import stats

from eval.metrics.registry import REGISTRY, metric_keys
from eval.networks.networks import Networks
from eval.networks.settings import NetworkSettings
from eval.networks.weights import WeightsMissing
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.protocol import Protocol
from eval.scoring.score import score
from eval.scoring.settings import ScoreSettings
from src.common.counting import counted
from src.common.errors import UserError
from src.common.progress import track
from src.common.typed import check_choice, check_range
from src.data.rendered import SEEDS, kind_of
from src.media.contact_sheet import evenly_spaced
from src.people.identity import sample_identity
from src.people.render import MAX_SIZE, MIN_SIZE, render_clip
from src.pose.extractors.settings import ExtractorSettings
from src.pose.keypoints import PARTS, PoseSequence

log = logging.getLogger(__name__)

LEVELS = 5


@dataclass(frozen=True, kw_only=True)
class KnownTruthSettings(NetworkSettings):
    """What `conf/known_truth.yaml` describes.

    Attributes:
        subjects: rendered people, each once.
        num_frames: of each one's clip that are damaged.
        resolution: side of the frames in pixels.
        metrics: keys and names of sets of `eval.metrics.registry`.
    """

    subjects: tuple[str, ...]
    num_frames: int
    resolution: int
    metrics: tuple[str, ...] | str
    protocol: Protocol
    pose: ExtractorSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("num_frames", self.num_frames, least=2)
        check_range("resolution", self.resolution, least=MIN_SIZE, most=MAX_SIZE)
        for name in self.subjects:
            check_choice("subjects", name, tuple(SEEDS))
        if not self.subjects or len(set(self.subjects)) < len(self.subjects):
            raise UserError("subjects must name at least one rendered person, each once")

    def caption(self) -> str:
        """What the figures are of, and by which poses, which decide MSE-P, PCK and OKS."""
        people = counted(len(self.subjects), "rendered person", "rendered people")
        frames = f"the first {self.num_frames} frames of each, {self.resolution} pixels"
        return f"{people}, {frames}, poses by `pose={self.pose.kind}`."


@dataclass(frozen=True, eq=False)
class Truth:
    """A rendered clip, longer than what is scored, and another person who moves in the same way."""

    frames_FHWC: np.ndarray
    other_FHWC: np.ndarray
    poses: PoseSequence
    count: int
    seed: int

    def real(self) -> np.ndarray:
        return self.frames_FHWC[: self.count]

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def _blur(truth: Truth, level: int) -> tuple[np.ndarray, float]:
    sigma = 0.5 * level
    return (np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in truth.real()]) if level else truth.real()), sigma


def _noise(truth: Truth, level: int) -> tuple[np.ndarray, float]:
    deviation = 6.0 * level
    noise_FHWC = truth.rng().normal(0, 1, truth.real().shape) * deviation
    return np.clip(truth.real() + noise_FHWC, 0, 255).astype(np.uint8), deviation


def _flicker(truth: Truth, level: int) -> tuple[np.ndarray, float]:
    amplitude = 6.0 * level
    shift_F = truth.rng().uniform(-1, 1, truth.count)[:, None, None, None] * amplitude
    return np.clip(truth.real() + shift_F, 0, 255).astype(np.uint8), amplitude


def _late(truth: Truth, level: int) -> tuple[np.ndarray, float]:
    """Sharp frames in the wrong pose: those of `level` frames later; how wrong is the true keypoints' mean distance."""
    poses, later = truth.poses[: truth.count], truth.poses[level : level + truth.count]
    return truth.frames_FHWC[level : level + truth.count], float(np.linalg.norm(later.xy - poses.xy, axis=-1).mean())


def _stranger(truth: Truth, level: int) -> tuple[np.ndarray, float]:
    """Another person in the right pose in a share of the frames."""
    frames_FHWC, share = truth.real().copy(), level / (LEVELS - 1)
    swapped = list(evenly_spaced(truth.count, round(share * truth.count))) if level else []
    frames_FHWC[swapped] = truth.other_FHWC[: truth.count][swapped]
    return frames_FHWC, share


def _hands_lost(truth: Truth, level: int) -> tuple[np.ndarray, float]:
    """Grey discs over the hands in a share of the frames."""
    frames_FHWC, share = truth.real().copy(), level / (LEVELS - 1)
    height, width = frames_FHWC.shape[1:3]
    for frame in evenly_spaced(truth.count, round(share * truth.count)) if level else ():
        for hand in ("left_hand", "right_hand"):
            points_K2 = truth.poses.xy[frame, PARTS[hand]][truth.poses.mask[frame, PARTS[hand]]]
            for x, y in points_K2:
                cv2.circle(frames_FHWC[frame], (int(x * width), int(y * height)), max(2, width // 24), (127,) * 3, -1)
    return frames_FHWC, share


DAMAGES: dict[str, Callable[[Truth, int], tuple[np.ndarray, float]]] = {
    "blur": _blur,
    "noise": _noise,
    "brightness flicker": _flicker,
    "wrong pose": _late,
    "another person": _stranger,
    "hands lost": _hands_lost,
}


def rendered(subject: str, *, count: int, size: int) -> Truth:
    """The first frames of a rendered person, `LEVELS` to spare, and another person with the same motion."""
    seed, kind, length = SEEDS[subject], kind_of(subject), count + LEVELS
    frames_FHWC, poses = render_clip(sample_identity(seed), kind, length, size, seed)
    other_FHWC, _ = render_clip(sample_identity(seed + 1000), kind, length, size, seed)
    return Truth(frames_FHWC, other_FHWC, poses, count, seed)


def agreement(settings: KnownTruthSettings, networks: Networks) -> dict[str, dict[str, list[float]]]:
    """Spearman's correlation between the size of each damage and how bad a metric says it is.

    Returns:
        By metric and damage, one a subject in their order, in [-1, 1]: 1 where the metric worsens with every level, -1
        where damage improves it, 0 where it does not see it. What has no value of one of them is left out.

    Raises:
        UserError: no metric has its network.
    """
    answers: dict[str, dict[str, list[float]]] = {}
    scoring = ScoreSettings(metrics=_at_hand(settings, networks), protocol=settings.protocol)
    with tempfile.TemporaryDirectory() as kept:
        for subject in track(settings.subjects, "Subjects"):
            truth = rendered(subject, count=settings.num_frames, size=settings.resolution)
            poses, real_FHWC = truth.poses[: truth.count], truth.real()
            for damage, apply in DAMAGES.items():
                levels, values = [], []
                for level in range(LEVELS):
                    frames_FHWC, amount = apply(truth, level)
                    clip = ScoredClip(damage, frames_FHWC, real_FHWC, real_FHWC[0], poses=poses)
                    found = score([clip], scoring, networks, store=FeatureStore(Path(kept)))
                    levels.append(amount)
                    values.append({name: entry["value"] for name, entry in found.metrics.items()})
                for name in set.intersection(*(set(value) for value in values)):
                    sign = -1 if REGISTRY[name].higher_is_better else 1
                    bad = [sign * value[name] for value in values]
                    answers.setdefault(name, {}).setdefault(damage, []).append(_spearman(levels, bad))
    return {
        name: {damage: own for damage, own in answers[name].items() if len(own) == len(settings.subjects)}
        for name in REGISTRY
        if name in answers
    }


def _at_hand(settings: KnownTruthSettings, networks: Networks) -> tuple[str, ...]:
    """The metrics that have their network: what lacks it lacks it of every clip, and is said once."""
    found = []
    for name in metric_keys(settings.metrics):
        try:
            REGISTRY[name].judge(networks, settings.protocol)
        except WeightsMissing as error:
            log.warning("%s is missing: %s", name, error)
        else:
            found.append(name)
    if not found:
        raise UserError("none of metrics= has its network, as said above: ask for others too, such as metrics=[ssim]")
    return tuple(found)


def _spearman(levels: Sequence[float], bad: Sequence[float]) -> float:
    """0 where a metric has one value for all levels; the infinite PSNR of the undamaged clip ranks as the best."""
    ranked = [-1e300 if value == -math.inf else value for value in bad]
    return 0.0 if len(set(ranked)) == 1 else float(cast(float, stats.spearmanr(levels, ranked)[0]))


def as_markdown(table: dict[str, dict[str, list[float]]]) -> str:
    """A table with a row for each metric: the subjects' mean, and from the lowest to the highest where they differ."""
    lines = [f"| | {' | '.join(DAMAGES)} |", f"|---|{'---|' * len(DAMAGES)}"]
    for name, row in table.items():
        cells = " | ".join(_cell(row[damage]) if damage in row else "-" for damage in DAMAGES)
        lines.append(f"| {REGISTRY[name].title} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(correlations: Sequence[float]) -> str:
    """As printed.

    >>> _cell([1.0, 0.9, 1.0]), _cell([1.0, 1.0])
    ('+0.97 (+0.90 to +1.00)', '+1.00')
    """
    mean, low, high = (f"{value:+.2f}" for value in (np.mean(correlations), min(correlations), max(correlations)))
    return mean if low == high else f"{mean} ({low} to {high})"
