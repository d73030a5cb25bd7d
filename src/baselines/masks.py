"""Masks of the person, which DisCo takes apart foreground and background with: from the user, or by MediaPipe.

What is taken is named as in `src.baselines.conditions`; in images anything brighter than half is the person, in arrays
`masks` (F, H, W) anything above 0.

Dimensions: F frames, H×W pixels, S the side of the subject's frames.
"""

import contextlib
import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.baselines.per_frame import FrameGeometry, as_the_frames, check_count, find_beside, read_stack
from src.common.errors import UserError
from src.common.progress import track
from src.pose.extractors.mediapipe import import_mediapipe, quiet_stderr

log = logging.getLogger(__name__)
_GENERAL_MODEL = 0  # 256 x 256; the other is for landscape pictures
THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of a subject's frames.

    Attributes:
        values: (F, S, S) float32, 1 where the person is, otherwise 0.
        source: what made them, for the results.
    """

    values: np.ndarray
    source: str


def subject_masks(
    frames_FHWC: np.ndarray, seen: Sequence[int], *, root: str | Path | None, name: str, geometry: FrameGeometry
) -> Masks:
    """Masks from the user's folder where it has any for the subject, otherwise by MediaPipe.

    Args:
        frames_FHWC: all frames of the subject, each of which has a mask in the user's folder.
        seen: of which masks are needed.

    Raises:
        UserError: the user's are not as they must be, or MediaPipe is not installed.
    """
    if root is not None and not Path(root).is_dir():
        raise UserError(f"dataset.mask_root={root} is no folder: expected one with masks under the subjects' names")
    found = None if root is None else find_beside(root, name)
    if found is None:
        return segment_people(np.asarray(frames_FHWC[list(seen)]))
    masks = read_masks(found, num_frames=len(frames_FHWC), geometry=geometry)
    return Masks(masks.values[list(seen)], masks.source)


def read_masks(path: str | Path, *, num_frames: int, geometry: FrameGeometry) -> Masks:
    """Read and check the masks of a video, cropped as its frames were.

    Raises:
        UserError: not readable, or another number or size.
    """
    path = Path(path)
    stack, kind = read_stack(path, keys=("masks",))
    if kind == "frames":
        stack = stack.max(-1) > 127
    elif stack.ndim != 3:
        raise UserError(f"{path} has shape {stack.shape}: expected masks (F, H, W)")
    check_count(len(stack), num_frames, path=path, what="masks")
    binary = (stack > 0).astype(np.uint8)
    values = [as_the_frames(mask, geometry, fill=0, smooth=False, what=str(path)) for mask in binary]
    return Masks(np.stack(values).astype(np.float32), "file")


def segment_people(frames_FHWC: np.ndarray) -> Masks:
    """Masks by MediaPipe's selfie segmentation, whose model is in its wheel; each frame by itself, on the CPU.

    Raises:
        UserError: MediaPipe is not installed.
    """
    try:
        segmentation = import_mediapipe().solutions.selfie_segmentation
    except UserError as error:
        raise UserError(
            "masks of the person need the package mediapipe: pip install '.[mediapipe]', or give masks of your "
            "own in dataset.mask_root"
        ) from error
    values = np.empty(frames_FHWC.shape[:3], np.float32)
    with quiet_stderr():
        opened = segmentation.SelfieSegmentation(model_selection=_GENERAL_MODEL)
    with opened as segmenter:
        for index, frame in enumerate(track(frames_FHWC, "masks")):
            with quiet_stderr() if index == 0 else contextlib.nullcontext():
                mask = segmenter.process(np.ascontiguousarray(frame)).segmentation_mask
            values[index] = mask > THRESHOLD
    version = importlib.metadata.version("mediapipe")
    return Masks(values, f"mediapipe {version} selfie_segmentation")
