"""The bad segments of a clip, and the poses to generate them in (Sec. 5.3, video inpainting).

Dimensions: F frames, K keypoints.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from src.common.counting import named_frames
from src.common.errors import UserError
from src.inpainting.settings import SegmentPoses
from src.pose.keypoints import PoseSequence
from src.pose.smooth import fill_gaps


@dataclass(frozen=True)
class Segment:
    """Bad frames `first` to `last`, both included, of a clip of `length` frames."""

    first: int
    last: int
    length: int

    @property
    def before(self) -> int | None:
        """The good frame before, if there is one."""
        return self.first - 1 if self.first > 0 else None

    @property
    def after(self) -> int | None:
        """The good frame after, if there is one."""
        return self.last + 1 if self.last + 1 < self.length else None

    @property
    def bad(self) -> list[int]:
        return list(range(self.first, self.last + 1))

    @property
    def beside(self) -> list[int]:
        """The good frames before and after, as many as there are."""
        return [f for f in (self.before, self.after) if f is not None]

    @property
    def generated(self) -> list[int]:
        """The bad frames and their good neighbours, which show what the borders have to bridge."""
        return [f for f in (self.before, *self.bad, self.after) if f is not None]


def parse_segments(value: Any, length: int) -> list[Segment]:
    """Check `segments` against a clip of `length` frames.

    Raises:
        UserError: not pairs of frame numbers in rising order, outside the clip, touching each other, or all of it.

    >>> [segment.bad for segment in parse_segments([[1, 2], [5, 5]], 8)]
    [[1, 2], [5]]
    """
    try:
        pairs = sorted(TypeAdapter(list[tuple[int, int]]).validate_python(value))
    except ValidationError:
        raise UserError(f"segments={value} must be pairs of first and last bad frame, such as [[40,63]]") from None
    if not pairs:
        raise UserError("segments=[] names no bad frame: give pairs of first and last bad frame, such as [[40,63]]")
    for first, last in pairs:
        if not 0 <= first <= last < length:
            raise UserError(f"the segment [{first},{last}] is not in the clip: its frames are 0 to {length - 1}")
    for (a, b), (c, d) in itertools.pairwise(pairs):
        if c <= b + 1:
            raise UserError(f"the segments [{a},{b}] and [{c},{d}] touch: join them into [{a},{max(b, d)}]")
    if pairs == [(0, length - 1)]:
        raise UserError("the segments cover the whole clip: no good frame is left to learn the person from")
    return [Segment(first, last, length) for first, last in pairs]


def segment_poses(poses: PoseSequence, segment: Segment, source: SegmentPoses) -> PoseSequence:
    """Poses of `segment.generated`.

    Args:
        poses: of the whole clip.
        source: `own`: as extracted; `interpolate`: keypoints move in straight lines between the good frames beside
            the segment, or stay as they are in the only one there is that shows the person. A keypoint that one of
            the two shows is there up to the middle, and moves with the nearest one that both show.

    Raises:
        UserError: `own`, and frames of the segment in which no person was found; `interpolate`, and none in those
            beside it.
    """
    if source == "own":
        unseen = [f for f in segment.bad if not poses.mask[f].any()]
        if unseen:
            raise UserError(f"no person is seen in {named_frames(unseen)}: set segment_poses=interpolate")
        return poses[segment.generated]
    ends = [f for f in segment.beside if poses.mask[f].any()]
    if not ends:
        raise UserError(
            f"no person is seen in the good {named_frames(segment.beside)} beside the segment "
            f"[{segment.first},{segment.last}]: widen it to where the person is found, or set segment_poses=own"
        )
    if len(ends) == 1:
        return poses[ends * len(segment.generated)]
    mask = poses.mask.copy()
    mask[segment.bad] = False
    generated = PoseSequence(poses.xy, poses.confidence, mask)[segment.generated]
    return _with_those_of_one_side(fill_gaps(generated, max_gap=len(segment.bad)))


def _with_those_of_one_side(poses: PoseSequence) -> PoseSequence:
    """Keypoints that the first frame or the last one alone shows, in the half of the frames beside it.

    A hand that turns out of sight would else be gone from the first bad frame on.
    """
    xy_FK2, confidence, mask = poses.xy.copy(), poses.confidence.copy(), poses.mask.copy()
    in_both = np.flatnonzero(mask[0] & mask[-1])
    middle = (len(mask) - 1) / 2
    for end, other, half in ((0, -1, slice(1, int(middle) + 1)), (-1, 0, slice(math.ceil(middle), -1))):
        for point in np.flatnonzero(poses.mask[end] & ~poses.mask[other]):
            moved_F2 = np.zeros_like(xy_FK2[half, point])
            if len(in_both):
                distances = np.linalg.norm(poses.xy[end, in_both] - poses.xy[end, point], axis=-1)
                anchor = in_both[distances.argmin()]
                moved_F2 = poses.xy[half, anchor] - poses.xy[end, anchor]
            xy_FK2[half, point] = poses.xy[end, point] + moved_F2
            confidence[half, point], mask[half, point] = poses.confidence[end, point], True
    return PoseSequence(xy_FK2, confidence, mask)
