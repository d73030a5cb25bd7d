"""OpenPose's drawing of a pose, the picture that the pose ControlNet was trained to follow.

Dimensions: F frames, H and W pixels, K = 128 keypoints.
"""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from src.common.arrays import MadeFrames
from src.pose.keypoints import PARTS, PoseSequence

# The library's line widths are fixed in pixels (limbs 8, dots 6 to 8), and the ControlNet saw them at this short side.
CANVAS_SHORT_SIDE = 512
# How much of the frame an overlaid drawing hides where it is brightest.
_OPACITY = 0.75


def draw_poses(poses: PoseSequence, size: int | tuple[int, int]) -> np.ndarray:
    """Draw each pose as DWPose does: coloured limbs, white face dots, rainbow hands, on black.

    The drawing is controlnet-aux's own (`controlnet_aux.dwpose.util`). Its widths do not scale, so another
    resolution would be another picture to the ControlNet: limbs a quarter as wide at 2048, a blot at 128.
    Every pose is therefore drawn at a short side of 512 and resized, by area means when it shrinks and
    bilinearly when it grows, as controlnet-aux's detectors do with their own `image_resolution`.

    Args:
        poses: F poses.
        size: (height, width) in pixels, or the side of a square.

    Returns:
        (F, H, W, 3) uint8 RGB.

    Example:
        >>> seen = np.zeros((1, 128), bool)
        >>> int(draw_poses(PoseSequence(np.zeros((1, 128, 2)), seen, seen), 64).max())
        0
    """
    height, width = (size, size) if isinstance(size, int) else size
    scale = CANVAS_SHORT_SIDE / min(height, width)
    canvas_height, canvas_width = round(height * scale), round(width * scale)
    interpolation = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    frames_FHWC = np.empty((len(poses), height, width, 3), np.uint8)
    for frame, xy_K2, mask_K in zip(frames_FHWC, poses.xy, poses.mask, strict=True):
        drawing = _draw_one(xy_K2, mask_K, canvas_height, canvas_width)
        frame[:] = cv2.resize(drawing, (width, height), interpolation=interpolation) if scale != 1 else drawing
    return frames_FHWC


def drawings(poses: PoseSequence, size: int | tuple[int, int]) -> MadeFrames:
    """What `draw_poses` draws, each when it is looked at."""
    whole = (size, size) if isinstance(size, int) else size
    return MadeFrames(lambda index: draw_poses(poses[index], whole)[0], len(poses), whole)


def draw_overlay(frames_FHWC: np.ndarray, poses: PoseSequence) -> np.ndarray:
    """Lay each pose's drawing over its frame, for people to look at.

    Args:
        frames_FHWC: (F, H, W, 3) uint8 RGB.
        poses: F poses in units of those frames.

    Returns:
        (F, H, W, 3) uint8 RGB.
    """
    if len(frames_FHWC) != len(poses):
        raise ValueError(f"{len(frames_FHWC)} frames cannot carry {len(poses)} poses")
    overlay_FHWC = np.empty_like(frames_FHWC)
    for i, frame in enumerate(frames_FHWC):
        drawing = draw_poses(poses[i], frame.shape[:2])[0].astype(np.float32)
        # Brightness is coverage: the resized drawing's edges fade to black.
        alpha = _OPACITY * np.minimum(drawing.max(-1, keepdims=True) / 153, 1)
        overlay_FHWC[i] = np.rint(frame * (1 - alpha) + drawing * alpha)
    return overlay_FHWC


def _draw_one(xy_K2: np.ndarray, mask_K: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw one pose with the library's functions: (H, W, 3) uint8."""
    util = _library()
    # The library's sign for an unseen point: -1 as index of a body point, a negative place of any other.
    xy = np.where(mask_K[:, None], xy_K2, -1).astype(np.float64)
    subset = np.where(mask_K[PARTS["body"]], np.arange(18), -1)[None]
    canvas = util.draw_bodypose(np.zeros((height, width, 3), np.uint8), xy[PARTS["body"]], subset)
    canvas = util.draw_handpose(canvas, [xy[PARTS["left_hand"]], xy[PARTS["right_hand"]]])
    return util.draw_facepose(canvas, [xy[PARTS["face"]]])


@functools.cache
def _library() -> ModuleType:
    """`controlnet_aux.dwpose.util`, loaded by itself.

    The package's `__init__` imports every detector it has (timm, segment-anything, their warnings and several
    seconds); this file needs numpy and OpenCV.
    """
    package = importlib.util.find_spec("controlnet_aux")
    assert package is not None and package.submodule_search_locations, "controlnet-aux is a dependency"
    path = Path(package.submodule_search_locations[0]) / "dwpose" / "util.py"
    spec = importlib.util.spec_from_file_location("controlnet_aux_dwpose_util", path)
    assert spec is not None and spec.loader is not None, "a Python file has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
