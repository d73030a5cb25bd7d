"""A fixed rectangle around the person for a whole clip, with the keypoints kept in step.

Dimensions: F frames, H x W pixels; sizes are (height, width) in pixels.
"""

import logging
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from src.common.errors import UserError
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

CropMode = Literal["person", "center", "pad", "none"]
# Keypoints end at the brows, knuckles and ankles: hair, fingertips and shoes need room beyond them.
MARGIN = 0.15
# The longer side of a frame is a multiple of this, which suits every Stable Diffusion UNet.
MULTIPLE = 64
MAX_RATIO = 4
# A shape that is further off is said.
SEEN_SHARE = 0.05


@dataclass(frozen=True)
class CropBox:
    """A rectangle of pixels of the full frame; what lies outside the frame is black.

    Attributes:
        left, top: its corner in pixels, x to the right and y down.
        width, height: in pixels.
    """

    left: int
    top: int
    width: int
    height: int


def aspect_ratio(aspect: str) -> float | None:
    """Width by height of `square` or `W:H`; None of `source`.

    Raises:
        UserError: none of these, or further from a square than 4:1.
    """
    if aspect == "source":
        return None
    if aspect == "square":
        return 1.0
    match = re.fullmatch(r"([1-9][0-9]{0,4}):([1-9][0-9]{0,4})", aspect)
    ratio = int(match[1]) / int(match[2]) if match else 0.0
    if not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
        raise UserError(
            f"data.aspect={aspect}: expected auto, square, source, or width:height such as 9:16, at most {MAX_RATIO}:1"
        )
    return ratio


def frame_size(aspect: str, resolution: int, *, width: int, height: int) -> tuple[int, int]:
    """(height, width) of prepared frames: `resolution` along the shorter side, along the other a multiple of 64.

    Args:
        aspect: see `aspect_ratio`; `source`: as near as that allows to the video's own shape, within 4:1.
        resolution: in pixels.
        width, height: of the video's frames in pixels.

    >>> frame_size("source", 512, width=1080, height=1920), frame_size("square", 96, width=1080, height=1920)
    ((896, 512), (96, 96))
    """
    ratio = aspect_ratio(aspect)
    if ratio is None:
        ratio = float(np.clip(width / height, 1 / MAX_RATIO, MAX_RATIO))
    longer = resolution
    if ratio != 1:
        longer = max(round(resolution * max(ratio, 1 / ratio) / MULTIPLE) * MULTIPLE, resolution)
    return (longer, resolution) if ratio < 1 else (resolution, longer)


def check_crop(mode: CropMode, *, width: int, height: int) -> None:
    """Raise UserError where `mode` keeps whole frames of that size, and none so far from a square are made."""
    if mode == "none" and not 1 / MAX_RATIO <= width / height <= MAX_RATIO:
        raise UserError(
            f"data.crop=none: frames of {width}x{height} pixels are further from a square than {MAX_RATIO}:1, the most "
            "that is made: data.crop=person or center cuts them to that, pad keeps them whole with black bars"
        )


def shape_warning(aspect: str, resolution: int, box: CropBox, size: tuple[int, int]) -> str | None:
    """What multiples of 64 do to the shape that was asked for, if it can be seen; None: it cannot.

    >>> shape_warning("source", 512, CropBox(0, 0, 1080, 1920), (896, 512)) is None
    True
    """
    height, width = size
    wanted, there = aspect_ratio(aspect), width / height
    finer = f"at data.resolution={resolution} no multiple of 64 is nearer; give a larger one"
    if wanted is not None and abs(there / wanted - 1) > SEEN_SHARE:
        return f"data.aspect={aspect} comes out as {width}x{height} pixels: {finer}"
    stretch = there / (box.width / box.height)
    if abs(stretch - 1) > SEEN_SHARE:
        return f"frames are stretched to {stretch:.0%} of their width for {width}x{height} pixels: {finer}"
    return None


def crop_box(poses: PoseSequence, *, width: int, height: int, mode: CropMode, size: tuple[int, int]) -> CropBox:
    """Choose the one rectangle, of the shape of `size`, that a clip is cropped to.

    A square frame that is to be square is kept whole in every mode. Otherwise:
    `person`: the smallest rectangle that holds every seen keypoint of every frame with a margin, centred on
    them and moved inside the frame. It is at least `size`, so that cropping does not enlarge, and at most the
    largest that fits. A person taller than that loses the legs, never the head.
    `center`: the largest rectangle in the middle. `pad`: the whole frame with black bars. `none`: the whole frame,
    stretched to the size by what multiples of 64 ask for.

    Args:
        poses: in units of the full frame.
        width, height: of the full frame in pixels.
        size: (height, width) that is resized to.
    """
    if mode == "none":
        return CropBox(0, 0, width, height)
    ratio = size[1] / size[0]
    if mode == "pad" or (width == height and ratio == 1):
        return _centred(max(width, round(height * ratio)), max(height, round(width / ratio)), width, height)
    largest = np.array([min(width, round(height * ratio)), min(height, round(width / ratio))])
    seen = poses.xy[poses.mask]
    if mode == "center" or not len(seen):
        return _centred(int(largest[0]), int(largest[1]), width, height)
    full = np.array([width, height])
    low, high = np.clip(seen.min(0), 0, 1) * full, np.clip(seen.max(0), 0, 1) * full
    # Widths of the rectangle that just holds the person, and of the one with a margin.
    extent = max(float(high[0] - low[0]), float(high[1] - low[1]) * ratio)
    wide = min(max(round(extent * (1 + 2 * MARGIN)), size[1]), int(largest[0]))
    box = np.array([wide, min(round(wide / ratio), int(largest[1]))])
    corner = (low + high - box) / 2
    corner[1] = min(corner[1], low[1] - MARGIN * min(extent / ratio, float(box[1])))
    left, top = np.clip(np.round(corner), 0, full - box).astype(int).tolist()
    return CropBox(left, top, *box.tolist())


def _centred(box_width: int, box_height: int, width: int, height: int) -> CropBox:
    return CropBox((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def crop_poses(poses: PoseSequence, box: CropBox, *, width: int, height: int) -> PoseSequence:
    """Move keypoints from units of the full frame to units of the crop.

    Keypoints outside the crop become unseen: a detector that looked at the crop could not have seen them.
    """
    moved = poses.transformed((width / box.width, height / box.height), (-box.left / box.width, -box.top / box.height))
    inside = ((moved.xy >= 0) & (moved.xy <= 1)).all(-1)
    lost = int((poses.mask & ~inside).sum())
    if lost:
        log.info("%.1f%% of the seen keypoints lie outside the crop", 100 * lost / poses.mask.sum())
    return PoseSequence(moved.xy, moved.confidence, moved.mask & inside)


def pad_poses(poses: PoseSequence, *, picture: tuple[int, int], size: tuple[int, int]) -> PoseSequence:
    """Move keypoints from units of a picture to units of frames that it is fitted into, black bars beside it.

    Keypoints outside the picture stay as they are seen: whoever wrote them knew of them.

    Args:
        picture, size: (height, width), of which the shapes alone count.
    """
    (height, width), ratio = picture, size[1] / size[0]
    if height * size[1] == width * size[0]:
        return poses
    x, y = width / max(width, height * ratio), height / max(height, width / ratio)
    return poses.transformed((x, y), ((1 - x) / 2, (1 - y) / 2))


def crop_frame(frame: np.ndarray, box: CropBox, size: tuple[int, int]) -> np.ndarray:
    """Cut the rectangle out of a (H, W, 3) uint8 frame and resize it to `size`, (height, width).

    The filter is Pillow's Lanczos, antialiased when it shrinks, with pixel centres at half integers: the
    map of coordinates in units of the frame is exactly that of `crop_poses`.
    """
    height, width = frame.shape[:2]
    right, bottom = box.left + box.width, box.top + box.height
    cut = frame[max(box.top, 0) : min(bottom, height), max(box.left, 0) : min(right, width)]
    if cut.shape[:2] != (box.height, box.width):
        outside = (
            (max(-box.top, 0), max(bottom - height, 0)),
            (max(-box.left, 0), max(right - width, 0)),
            (0, 0),
        )
        cut = np.pad(cut, outside)
    if (box.height, box.width) == size:
        return np.ascontiguousarray(cut)
    return np.asarray(Image.fromarray(cut).resize((size[1], size[0]), Image.Resampling.LANCZOS))
