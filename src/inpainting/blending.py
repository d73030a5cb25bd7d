"""The pictures of a repaired segment: generated rectangles pasted into the frames of a video, blended at every border.

Dimensions: L frames of a segment, h×w of the rectangle, H×W the video's own size; RGB.
"""

import cv2
import numpy as np
from PIL import Image

from src.common.arrays import Frames, MadeFrames, height_width
from src.data.crop import CropBox

# How far, in parts of the shorter side, the blend reaches at those edges of the rectangle that lie inside the frame,
# and how coarse the difference is that is carried across a border in time: light and colour, never an outline.
_FEATHER, _COARSE = 0.06, 0.05


def blend_in_time(
    generated_LhwC: Frames, before: np.ndarray | None, after: np.ndarray | None, *, blend_frames: int
) -> MadeFrames:
    """Take the jump in light and colour out of both ends of a segment.

    Next to a border, the blurred difference of the true to the generated neighbour is added; it fades out linearly
    over `blend_frames` frames. Where the generated neighbour equals the true one, nothing changes.

    Args:
        generated_LhwC: (L, h, w, 3) uint8.
        before, after: (h, w, 3) float, true minus generated neighbour outside either border; None: there is none.
        blend_frames: 0 leaves everything as it is.

    Returns:
        (L, h, w, 3) uint8, each made when it is looked at.
    """
    coarse = [
        None
        if difference is None
        else cv2.GaussianBlur(difference.astype(np.float32), (0, 0), _COARSE * min(difference.shape[:2]))
        for difference in (before, after)
    ]

    def blended(index: int) -> np.ndarray:
        out = generated_LhwC[index].astype(np.float32)
        for difference, away in zip(coarse, (index, len(generated_LhwC) - 1 - index), strict=True):
            if difference is not None and away < blend_frames:
                out += (1 - away / blend_frames) * difference
        return np.rint(np.clip(out, 0, 255)).astype(np.uint8)

    return MadeFrames(blended, len(generated_LhwC), height_width(generated_LhwC))


def background(before: np.ndarray | None, after: np.ndarray | None, position: float) -> np.ndarray:
    """What the rectangle does not cover: the good frames on both sides of the segment, cross-faded.

    Args:
        before, after: (H, W, 3) uint8; None where the video begins or ends with the segment.
        position: in (0, 1), place of the frame between them.
    """
    if before is None or after is None:
        one = after if before is None else before
        assert one is not None, "segments never cover the whole clip"
        return one.copy()
    return cv2.addWeighted(before, 1 - position, after, position, 0)


def paste_feathered(frame_HWC: np.ndarray, patch_hwC: np.ndarray, box: CropBox) -> np.ndarray:
    """Paste a rectangle into a frame where it was cut out, feathered at edges that are not the frame's.

    Args:
        frame_HWC: (H, W, 3) uint8; patch_hwC: (h, w, 3) uint8; box: of it in the frame's pixels.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = frame_HWC.shape[:2]
    patch = np.asarray(Image.fromarray(patch_hwC).resize((box.width, box.height), Image.Resampling.LANCZOS))
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, height), min(box.left + box.width, width)
    reach = max(_FEATHER * min(box.width, box.height), 1)
    weights = []
    for start, stop, length in ((top, bottom, height), (left, right, width)):
        inside = np.arange(start, stop) + 0.5
        from_start = np.inf if start == 0 else (inside - start) / reach
        to_stop = np.inf if stop == length else (stop - inside) / reach
        weights.append(np.clip(np.minimum(from_start, to_stop), 0, 1) * np.ones(stop - start))
    alpha = (weights[0][:, None] * weights[1])[..., None]
    out = frame_HWC.copy()
    cut = patch[top - box.top : bottom - box.top, left - box.left : right - box.left]
    region = out[top:bottom, left:right]
    out[top:bottom, left:right] = np.rint(region * (1 - alpha) + cut * alpha).astype(np.uint8)
    return out
