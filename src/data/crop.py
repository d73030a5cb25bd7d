"""A fixed square around the person for a whole clip, with the keypoints kept in step.

Dimensions: F frames, H x W pixels, S the side of the result in pixels.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

CropMode = Literal["person", "center", "pad"]
# Keypoints end at the brows, knuckles and ankles: hair, fingertips and shoes need room beyond them.
MARGIN = 0.15


@dataclass(frozen=True)
class CropBox:
    """A square of pixels of the full frame; what lies outside the frame is black.

    Attributes:
        left, top: its corner in pixels, x to the right and y down.
        side: its width and height in pixels.
    """

    left: int
    top: int
    side: int


def crop_box(poses: PoseSequence, *, width: int, height: int, mode: CropMode, min_side: int) -> CropBox:
    """Choose the one square that a clip is cropped to.

    A square frame is kept whole in every mode. Otherwise:
    `person`: the smallest square that holds every seen keypoint of every frame with a margin, centred on
    them and moved inside the frame. It is at least `min_side` wide, so that cropping does not enlarge, and
    at most the frame's shorter side. A person taller than that loses the legs, never the head.
    `center`: the largest square in the middle. `pad`: the whole frame with black bars.

    Args:
        poses: in units of the full frame.
        width, height: of the full frame in pixels.
        min_side: usually the resolution that is resized to, in pixels.
    """
    short, long = min(width, height), max(width, height)
    if mode == "pad" or width == height:
        return CropBox((width - long) // 2, (height - long) // 2, long)
    seen = poses.xy[poses.mask]
    if mode == "center" or not len(seen):
        return CropBox((width - short) // 2, (height - short) // 2, short)
    size = np.array([width, height])
    low, high = np.clip(seen.min(0), 0, 1) * size, np.clip(seen.max(0), 0, 1) * size
    extent = float((high - low).max())
    side = min(max(round(extent * (1 + 2 * MARGIN)), min_side), short)
    corner = (low + high - side) / 2
    corner[1] = min(corner[1], low[1] - MARGIN * min(extent, side))
    left, top = np.clip(np.round(corner), 0, size - side).astype(int).tolist()
    return CropBox(left, top, side)


def crop_poses(poses: PoseSequence, box: CropBox, *, width: int, height: int) -> PoseSequence:
    """Move keypoints from units of the full frame to units of the crop.

    Keypoints outside the crop become unseen: a detector that looked at the crop could not have seen them.
    """
    moved = poses.transformed((width / box.side, height / box.side), (-box.left / box.side, -box.top / box.side))
    inside = ((moved.xy >= 0) & (moved.xy <= 1)).all(-1)
    lost = int((poses.mask & ~inside).sum())
    if lost:
        log.info("%.1f%% of the seen keypoints lie outside the crop", 100 * lost / poses.mask.sum())
    return PoseSequence(moved.xy, moved.confidence, moved.mask & inside)


def crop_frame(frame: np.ndarray, box: CropBox, resolution: int) -> np.ndarray:
    """Cut the square out of a (H, W, 3) uint8 frame and resize it to (S, S, 3).

    The filter is Pillow's Lanczos, antialiased when it shrinks, with pixel centres at half integers: the
    map of coordinates in units of the frame is exactly that of `crop_poses`.
    """
    height, width = frame.shape[:2]
    right, bottom = box.left + box.side, box.top + box.side
    cut = frame[max(box.top, 0) : min(bottom, height), max(box.left, 0) : min(right, width)]
    if cut.shape[:2] != (box.side, box.side):
        outside = (
            (max(-box.top, 0), max(bottom - height, 0)),
            (max(-box.left, 0), max(right - width, 0)),
            (0, 0),
        )
        cut = np.pad(cut, outside)
    if box.side == resolution:
        return np.ascontiguousarray(cut)
    return np.asarray(Image.fromarray(cut).resize((resolution, resolution), Image.Resampling.LANCZOS))
