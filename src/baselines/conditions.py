"""DensePose conditions of a video: read from the user, since no maintained extractor can be installed.

What is taken, one for each frame, by the subject's name in a folder or by a path of its own:

    <name>.mp4, or another video             a rendering in the public colouring
    <name>/                                  the same as images, in natural order
    <name>.npz, .npy                         `parts` (F, H, W): DensePose's part of each pixel, 0 the background and
                                             1 to 24; or `iuv` (F, H, W, 3), of which the first channel is that

Dimensions: F frames, H×W pixels, S the side of the subject's frames.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from src.baselines.per_frame import FrameGeometry, as_the_frames, check_count, find_beside, read_stack
from src.common.errors import UserError

log = logging.getLogger(__name__)
NUM_PARTS = 24
BACKGROUND = (68, 1, 84)
"""Viridis at 0, RGB."""
_NEAR, _LEAST_SHARE = 40, 0.05


@dataclass(frozen=True, eq=False)
class Conditions:
    """Renderings of a subject's frames.

    Attributes:
        images: (F, S, S, 3) uint8 RGB.
        kind: `frames` as given, or rendered from `parts` or `iuv`.
        path: where they are from.
    """

    images: np.ndarray
    kind: str
    path: Path


def require_conditions(root: str | Path | None, name: str) -> Path:
    """What a subject has under its name.

    Args:
        root: the folder; None: there is none.

    Raises:
        UserError: there is nothing, or more than one.
    """
    found = None if root is None else find_beside(root, name)
    if found is None:
        where = f"in {root}" if root is not None else "(dataset.condition_root is not set)"
        raise UserError(
            f"MagicAnimate needs a DensePose condition for {name}, and there is none {where}: add {name}.mp4, a folder "
            f"{name}/ of images or {name}.npz with parts or iuv, one for each frame, and set dataset.condition_root"
        )
    return found


def read_conditions(path: str | Path, *, num_frames: int, geometry: FrameGeometry) -> Conditions:
    """Read, check and render the conditions of a video, cropped as its frames were.

    Args:
        num_frames: F.
        geometry: of the subject.

    Raises:
        UserError: not readable, another number or size, or no part indices.
    """
    path = Path(path)
    stack, kind = read_stack(path, keys=("parts", "iuv"))
    if kind == "frames":
        check_count(len(stack), num_frames, path=path, what="conditions")
        cropped = [as_the_frames(image, geometry, fill=BACKGROUND, smooth=True, what=str(path)) for image in stack]
        images = np.stack(cropped)
        _warn_of_other_colouring(images, path)
        return Conditions(images, kind, path)
    parts_FHW, kind = _part_indices(stack, path)
    check_count(len(parts_FHW), num_frames, path=path, what="conditions")
    cropped = [as_the_frames(parts, geometry, fill=0, smooth=False, what=str(path)) for parts in parts_FHW]
    return Conditions(render_parts(np.stack(cropped)), kind, path)


def render_parts(parts_FHW: np.ndarray) -> np.ndarray:
    """The public colouring of part indices: viridis at i · 255 / 24.

    Args:
        parts_FHW: uint8, 0 to 24.

    Returns:
        (F, H, W, 3) uint8 RGB.

    >>> render_parts(np.array([[[0, 24]]], np.uint8)).tolist()
    [[[[68, 1, 84], [253, 231, 37]]]]
    """
    values = (np.arange(NUM_PARTS + 1) * 255 / NUM_PARTS).astype(np.uint8)
    colours = cv2.applyColorMap(values[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return np.ascontiguousarray(colours)[parts_FHW]


def _part_indices(stack: np.ndarray, path: Path) -> tuple[np.ndarray, str]:
    """(F, H, W) uint8 of an array of parts or of IUV, and which it was."""
    if stack.ndim not in (3, 4) or (stack.ndim == 4 and stack.shape[-1] != 3) or stack.dtype.kind not in "iu":
        raise UserError(
            f"{path} has shape {stack.shape} of {stack.dtype}: expected integers, parts (F, H, W) or iuv (F, H, W, 3)"
        )
    parts, kind = (stack, "parts") if stack.ndim == 3 else (stack[..., 0], "iuv")
    if parts.size and (parts.min() < 0 or parts.max() > NUM_PARTS):
        raise UserError(
            f"{path} has parts from {parts.min()} to {parts.max()}: DensePose's are 0, the background, to {NUM_PARTS}"
        )
    return parts.astype(np.uint8), kind


def _warn_of_other_colouring(images_FHWC: np.ndarray, path: Path) -> None:
    """Another background than viridis' first colour tells another colouring, or no DensePose at all."""
    far = np.abs(images_FHWC.astype(np.int16) - np.array(BACKGROUND, np.int16)).max(-1)
    share = float((far <= _NEAR).mean())
    if share < _LEAST_SHARE:
        log.warning(
            "%s: %.0f%% of the pixels have the background of MagicAnimate's DensePose colouring %s; expected a "
            "rendering in viridis, or part indices",
            *(path, 100 * share, BACKGROUND),
        )
