"""The proportions of a person, measured on the poses of a clip.

A picture shows bones foreshortened, and never longer than they are. So the length of a bone is a high quantile over
all frames and both sides, which is robust to outliers and, in two clips of similar gestures, shortened alike. Who
only ever gestures towards the camera shows no forearm at its length: limbs have a least ratio of their two bones, and
palms, which clasped or hanging hands show from the side, one to the head.

Dimensions: F frames, P = 73 head points (`src.pose.head`). Lengths in units of a square frame.
"""

from dataclasses import dataclass

import numpy as np

from src.common.errors import UserError
from src.pose.edit import HANDS, NECK, arm, leg
from src.pose.head import HEAD, TEMPLATE_P3, HeadPose, fit_head
from src.pose.keypoints import PoseSequence

SIDES = ("right", "left")
# Parent and child of each bone, the same of both sides; -1 is the middle of the hips.
MID_HIP = -1
BONES: dict[str, tuple[tuple[int, int], ...]] = {
    "shoulder": tuple((NECK, arm(side)[0]) for side in SIDES),
    "upper_arm": tuple((arm(side)[0], arm(side)[1]) for side in SIDES),
    "forearm": tuple((arm(side)[1], arm(side)[2]) for side in SIDES),
    "torso": ((NECK, MID_HIP),),
    "pelvis": tuple((MID_HIP, leg(side)[0]) for side in SIDES),
    "thigh": tuple((leg(side)[0], leg(side)[1]) for side in SIDES),
    "shank": tuple((leg(side)[1], leg(side)[2]) for side in SIDES),
}
# The wrist and the knuckles of the four fingers: what a curled hand keeps.
_PALM = ((0, 5), (0, 9), (0, 13), (0, 17), (5, 17))
_QUANTILE = 0.95
# Human forearms and shanks, from joint to joint, are about 0.9 of upper arms and thighs.
_LEAST_RATIO = 0.8
# Open palms, of the lengths that `_PALM` averages, are about 1.2 of half a head's width; those of drawn people 0.95.
_LEAST_PALM = 0.9
_STANDING_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Proportions:
    """What is a person's own.

    Attributes:
        lengths: of each of `BONES`, of "hand" (its palm), of "head" (half its width) and of "head_height" (from the
            neck to the point between the ears); without those that were never seen.
        neutral_P3: (P, 3) neutral face in head coordinates, in units of "head".
        neck: where the neck is.
        footing: x of the middle of the hips and y of the lower ankle, or None where these are seen in less than half
            of the frames.
    """

    lengths: dict[str, float]
    neutral_P3: np.ndarray
    neck: "Place"
    footing: "Place | None"


@dataclass(frozen=True, eq=False)
class Place:
    """Where something is over a clip: (2,) median, and (2,) half the width of the middle two thirds."""

    middle: np.ndarray
    spread: np.ndarray

    @staticmethod
    def of(points_N2: np.ndarray) -> "Place":
        low, middle, high = np.quantile(points_N2, (1 / 6, 1 / 2, 5 / 6), axis=0)
        return Place(middle, (high - low) / 2)


def joints(xy_FK2: np.ndarray, mask_FK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Append the middle of the hips as the last point: (F, K + 1, 2) float64 and (F, K + 1) bool."""
    hips = [leg(side)[0] for side in SIDES]
    middle = xy_FK2[:, hips].astype(np.float64).mean(1, keepdims=True)
    return np.concatenate([xy_FK2, middle], 1), np.concatenate([mask_FK, mask_FK[:, hips].all(1, keepdims=True)], 1)


def fit_heads(poses: PoseSequence) -> list[HeadPose | None]:
    """The pose of the head in each frame, None where it is not seen."""
    return [fit_head(xy[HEAD], mask[HEAD]) for xy, mask in zip(poses.xy, poses.mask, strict=True)]


def fit_proportions(poses: PoseSequence, heads: list[HeadPose | None], *, whose: str) -> Proportions:
    """Measure a person.

    Args:
        poses: F poses; heads: their `fit_heads`.
        whose: for messages.

    Raises:
        UserError: the neck is seen in no frame.
    """
    if not poses.mask[:, NECK].any():
        raise UserError(f"the neck of the {whose} is seen in no pose: its proportions cannot be measured")
    xy, mask = joints(poses.xy, poses.mask)
    lengths = {name: _length(xy, mask, pairs) for name, pairs in BONES.items()}
    for upper, lower in (("upper_arm", "forearm"), ("thigh", "shank")):
        long, short = lengths[upper], lengths[lower]
        lengths[upper], lengths[lower] = max(long, _LEAST_RATIO * short), max(short, _LEAST_RATIO * long)
    palms = [(hand.start + a, hand.start + b) for hand in HANDS.values() for a, b in _PALM]
    # One bone at a time, so that a quantile never mixes long and short bones.
    palm = [_length(xy, mask, (palms[i], palms[i + len(_PALM)])) for i in range(len(_PALM))]
    lengths["hand"] = float(np.mean(palm))
    seen = [(f, head) for f, head in enumerate(heads) if head is not None]
    neutral = TEMPLATE_P3
    if seen:
        lengths["head"] = float(np.median([head.scale for _, head in seen]))
        lengths["hand"] = max(lengths["hand"], _LEAST_PALM * lengths["head"])
        to_neck = [np.linalg.norm(head.offset - xy[f, NECK]) for f, head in seen if mask[f, NECK]]
        lengths["head_height"] = float(np.median(to_neck)) if to_neck else np.nan
        neutral = _neutral(xy, mask, seen)
    ankles = [leg(side)[2] for side in SIDES]
    standing = mask[:, ankles].all(1) & mask[:, MID_HIP]
    footing = np.stack([xy[:, MID_HIP, 0], xy[:, ankles, 1].max(1)], -1)[standing]
    return Proportions(
        {name: length for name, length in lengths.items() if np.isfinite(length) and length > 0},
        neutral,
        Place.of(xy[mask[:, NECK], NECK]),
        Place.of(footing) if standing.mean() >= _STANDING_SHARE else None,
    )


def _length(xy: np.ndarray, mask: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> float:
    found = [np.linalg.norm(xy[:, a] - xy[:, b], axis=-1)[mask[:, a] & mask[:, b]] for a, b in pairs]
    found = np.concatenate(found)
    return float(np.quantile(found, _QUANTILE)) if len(found) else np.nan


def _neutral(xy: np.ndarray, mask: np.ndarray, seen: list[tuple[int, HeadPose]]) -> np.ndarray:
    """Median over the frames of the face turned to the front; the generic head's point where one was never seen."""
    fronts = np.stack([np.where(mask[f, HEAD][:, None], head.unproject(xy[f, HEAD]), np.nan) for f, head in seen])
    never = np.isnan(fronts[..., 0]).all(0)
    fronts[:, never] = TEMPLATE_P3[never]
    return np.nanmedian(fronts, axis=0)
