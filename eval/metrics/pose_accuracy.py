"""PCK and OKS: how near the poses found in generated frames are to those of real ones, a missed keypoint being wrong.

Dimensions: F frames, K keypoints of a part. Coordinates are in pixels here. What counts is what the real pose shows: a
keypoint that is seen there and not in the generated frame counts as the worst, whereas MSE-P leaves it out.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch

from eval.metrics.base import MeanMetric, NotComputable
from src.common.errors import UserError
from src.pose.keypoints import BODY_NAMES, PARTS, PoseSequence

# Standard deviations in units of the person's scale: COCO's of the body, COCO-WholeBody's of face and hand.
BODY_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041),
    *(0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012),
    *(0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034),
    *(0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008),
    *(0.008, 0.008, 0.010, 0.008),
)
HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
    *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)
# COCO has no neck.
BODY = np.array([index for index, name in enumerate(BODY_NAMES) if name != "neck"])
GROUPS: dict[str, tuple[tuple[np.ndarray, tuple[float, ...]], ...]] = {
    "body": ((BODY, tuple(BODY_SIGMAS[BODY_NAMES[index].split("_")[-1]] for index in BODY)),),
    "face": ((np.arange(128)[PARTS["face"]], FACE_SIGMAS),),
    "hands": tuple((np.arange(128)[PARTS[hand]], HAND_SIGMAS) for hand in ("left_hand", "right_hand")),
}
# Of a person's area without a segmentation: COCO's share of the bounding rectangle (xtcocotools, `use_area=False`).
AREA_SHARE = 0.53


class PoseAccuracy(MeanMetric):
    """Shared by `PCK` and `OKS`: one value of each part of each frame that the real pose shows.

    Args:
        group: `body`, `face` or `hands`, key of `GROUPS`; the two hands are two parts.
    """

    unit: ClassVar[str] = "frames that show the part"

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group
        self.add_state("real_keypoints", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("found", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, generated: PoseSequence, real: PoseSequence, *, size: tuple[int, int]) -> None:
        """Add the poses of one video.

        Args:
            size: height and width of the frames, in pixels.

        Raises:
            UserError: the sequences differ in length.
        """
        if len(generated) != len(real):
            raise UserError(f"poses are compared frame by frame, but there are {len(generated)} and {len(real)}")
        scale = np.array(size[::-1], np.float64)
        person_F2 = _rectangle(real.xy * scale, real.mask)
        shows_F = np.zeros(len(real), bool)
        for indices, sigmas in GROUPS[self.group]:
            found_FK, seen_FK = generated.mask[:, indices], real.mask[:, indices]
            distance_FK = np.linalg.norm((generated.xy[:, indices] - real.xy[:, indices]) * scale, axis=-1)
            distance_FK = np.where(found_FK, distance_FK, np.inf)
            part_F2 = _rectangle(real.xy[:, indices] * scale, seen_FK)
            right_FK = self._right(distance_FK, part_F2, person_F2, np.array(sigmas))
            shown_F = seen_FK.any(1)
            value_F = (right_FK * seen_FK).sum(1)[shown_F] / seen_FK.sum(1)[shown_F]
            # A hand counts like any other, a frame that shows both is one.
            new = int((shown_F & ~shows_F).sum())
            self._add(torch.from_numpy(value_F).to(self.total.device), frames=new)
            shows_F |= shown_F
            self.real_keypoints += int(seen_FK.sum())
            self.found += int((seen_FK & found_FK).sum())

    @abstractmethod
    def _right(
        self, distance_FK: np.ndarray, part_F2: np.ndarray, person_F2: np.ndarray, sigma_K: np.ndarray
    ) -> np.ndarray:
        """How right each keypoint is, (F, K) in [0, 1], from distances in pixels (inf: missed) and the sides (F, 2) of
        the bounding rectangles of the part and of the person."""

    def compute(self) -> torch.Tensor:
        """() float64.

        Raises:
            NotComputable: no real frame shows the part.
        """
        if self.count == 0:
            raise NotComputable(f"no real frame shows the {self.group}")
        return super().compute()

    def details(self) -> dict[str, int | float | str]:
        return super().details() | {"seen": int(self.found) / max(1, int(self.real_keypoints))}


class PCK(PoseAccuracy):
    """Share of keypoints within 0.1 of the longer side of the real part's bounding rectangle (PCK@0.1).

    Range [0, 1], higher is better, 1 for equal poses; a missed keypoint is wrong. Resolution: the extractor's. Colour:
    8-bit RGB. Pooling: mean over keypoints of a part, then over frames (and hands) that show it. The share of the
    keypoints that was found is reported as `seen`. Network: the protocol's pose extractor. Source: Yang and Ramanan
    2013.
    """

    threshold: ClassVar[float] = 0.1

    def _right(
        self, distance_FK: np.ndarray, part_F2: np.ndarray, person_F2: np.ndarray, sigma_K: np.ndarray
    ) -> np.ndarray:
        return distance_FK <= self.threshold * part_F2.max(1)[:, None]


class OKS(PoseAccuracy):
    """Object keypoint similarity: mean of exp(-d² / (2 s² (2 σ)²)) over the keypoints that the real pose shows.

    s² is 0.53 of the area of the bounding rectangle of the person's seen keypoints (COCO has the segmented area, which
    nobody has here), σ COCO's for the body, COCO-WholeBody's for face and hands. Range [0, 1], higher is better, 1 for
    equal poses; a missed keypoint is 0. Resolution: the extractor's. Colour: 8-bit RGB.
    Pooling: over frames (and hands) that
    show the part. The share of keypoints found is reported as `seen`. Network: the protocol's pose extractor. Source:
    COCO's keypoint evaluation; Jin et al. 2020 (COCO-WholeBody).
    """

    def _right(
        self, distance_FK: np.ndarray, part_F2: np.ndarray, person_F2: np.ndarray, sigma_K: np.ndarray
    ) -> np.ndarray:
        area_F = AREA_SHARE * person_F2.prod(1)
        return np.exp(-np.square(distance_FK) / (2 * (area_F[:, None] + np.spacing(1)) * np.square(2 * sigma_K)))


def _rectangle(xy_FK2: np.ndarray, mask_FK: np.ndarray) -> np.ndarray:
    """Width and height (F, 2) of the bounding rectangle of the seen keypoints, 0 where there is none."""
    low_F2 = np.where(mask_FK[..., None], xy_FK2, np.inf).min(1)
    high_F2 = np.where(mask_FK[..., None], xy_FK2, -np.inf).max(1)
    return np.where(mask_FK.any(1)[:, None], high_F2 - low_F2, 0.0)
