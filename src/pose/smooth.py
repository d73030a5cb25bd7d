"""Jitter and gaps of extracted poses: the one-euro filter, and interpolation.

Dimensions: F frames, K = 128 keypoints. Coordinates in units of the frame, rates in Hz.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from src.common.typed import check_range
from src.pose.keypoints import PoseSequence

# Cutoff of the low-pass filter of the speed, as in the paper of the one-euro filter.
_SPEED_CUTOFF = 1.0


@dataclass(frozen=True, kw_only=True)
class SmoothSettings:
    """The config group `smooth`.

    Attributes:
        min_cutoff: cutoff frequency of a point at rest in Hz, lower is smoother; null: no filter.
        beta: by how many Hz the cutoff rises for each frame width a second that a point moves; higher lags less.
        max_gap: fill gaps of at most so many frames; 0: none.
    """

    min_cutoff: float | None = None
    beta: float = 10.0
    max_gap: int = 0

    def __post_init__(self) -> None:
        check_range("smooth.min_cutoff", self.min_cutoff, above=0)
        check_range("smooth.beta", self.beta, least=0)
        check_range("smooth.max_gap", self.max_gap, least=0)

    def apply(self, poses: PoseSequence, fps: float) -> PoseSequence:
        """Fill gaps, then filter, as far as these are on."""
        if self.max_gap:
            poses = fill_gaps(poses, max_gap=self.max_gap)
        if self.min_cutoff is not None:
            poses = one_euro(poses, fps, min_cutoff=self.min_cutoff, beta=self.beta)
        return poses


def fill_gaps(poses: PoseSequence, *, max_gap: int) -> PoseSequence:
    """Interpolate, in a straight line, each keypoint that is unseen for at most `max_gap` frames between two seen ones.

    Confidence is interpolated with it. Gaps at either end of the clip stay.
    """
    xy, confidence, mask = poses.xy.copy(), poses.confidence.copy(), poses.mask.copy()
    for point in range(mask.shape[1]):
        seen = np.flatnonzero(poses.mask[:, point])
        for before, after in itertools.pairwise(seen):
            if 1 < after - before <= max_gap + 1:
                share = np.arange(1, after - before)[:, None] / (after - before)
                inside = slice(before + 1, after)
                xy[inside, point] = (1 - share) * xy[before, point] + share * xy[after, point]
                ends = confidence[before, point], confidence[after, point]
                confidence[inside, point] = (1 - share[:, 0]) * ends[0] + share[:, 0] * ends[1]
                mask[inside, point] = True
    return PoseSequence(xy, confidence, mask)


def one_euro(poses: PoseSequence, fps: float, *, min_cutoff: float, beta: float) -> PoseSequence:
    """The one-euro filter (Casiez, Roussel and Vogel, CHI 2012), run forwards and backwards and averaged.

    The filter of the paper runs forwards only and lags behind; a clip that is all there needs no lag. Each keypoint
    is filtered by itself with one cutoff for x and y, and starts anew after a gap.

    Args:
        fps: frames a second.
        min_cutoff, beta: as in `SmoothSettings`.
    """
    forwards = _one_way(poses.xy, poses.mask, fps, min_cutoff, beta)
    backwards = _one_way(poses.xy[::-1], poses.mask[::-1], fps, min_cutoff, beta)[::-1]
    return PoseSequence((forwards + backwards) / 2, poses.confidence, poses.mask)


def _one_way(xy_FK2: np.ndarray, mask_FK: np.ndarray, fps: float, min_cutoff: float, beta: float) -> np.ndarray:
    out_FK2 = xy_FK2.astype(np.float64)
    velocity_K2 = np.zeros_like(out_FK2[0])
    for f in range(1, len(out_FK2)):
        going_on = (mask_FK[f] & mask_FK[f - 1])[:, None]
        raw = (out_FK2[f] - out_FK2[f - 1]) * fps
        velocity_K2 = np.where(going_on, velocity_K2 + _weight(_SPEED_CUTOFF, fps) * (raw - velocity_K2), 0)
        speed_K1 = np.linalg.norm(velocity_K2, axis=-1, keepdims=True)
        weight_K1 = _weight(min_cutoff + beta * speed_K1, fps)
        filtered = out_FK2[f - 1] + weight_K1 * (out_FK2[f] - out_FK2[f - 1])
        out_FK2[f] = np.where(going_on, filtered, out_FK2[f])
    return out_FK2


def _weight(cutoff: float | np.ndarray, fps: float) -> float | np.ndarray:
    """Weight of a new value in exponential smoothing of a given cutoff (the paper's alpha)."""
    return 1 / (1 + fps / (2 * np.pi * cutoff))
