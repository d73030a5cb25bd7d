"""The videos that a result names, as far as they are what it scored.

A result may come from anybody, and its paths may name any file on the reader's disk: what would show somebody's video
on a page that is then passed on. Only frames with the checksum that the result recorded of them are shown.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from eval.metrics.spec import Side
from eval.reporting.results import Result
from eval.scoring.reading import read_side, resize_frames
from src.common.digests import arrays_sha256
from src.common.errors import UserError
from src.media.pictures import Resize
from src.media.sources import check_pixels
from src.media.video import Video, read_video


def scored_video(result: Result, subject: str, side: Side, true_FHWC: np.ndarray | None = None) -> Video:
    """One side of a subject, in the size of its file.

    Args:
        true_FHWC: the true frames, of whose size generated ones of another may have been scored.

    Raises:
        UserError: it cannot be read, the result does not say what it scored, or that is something else.
    """
    given, key = result.files[subject][side], f"{side}_sha256"
    assert given is not None, "what is not named is not asked for"
    path, recorded = Path(given), result.inputs.get(subject, {}).get(key)
    if recorded is None:
        raise UserError(f"{path} is not shown: the result does not say which frames it scored (inputs.*.{key})")
    video, size = read_video(path), None if true_FHWC is None else true_FHWC.shape[1]
    for frames_FHWC in _readings(video, side):
        if any(arrays_sha256(scored) == recorded for scored in _as_scored(result, path, side, frames_FHWC, size)):
            return replace(video, frames=frames_FHWC)
    raise UserError(f"{path} is not shown: its frames are not those that the result scored (inputs.*.{key})")


def _readings(video: Video, side: Side) -> Iterator[np.ndarray]:
    """A video's frames as reports read them, then as the scorer does: of pictures of 16 bits these are others."""
    yield video.frames
    # What the scorer refuses it has not scored.
    with suppress(UserError):
        if video.path.is_dir():
            yield read_side(video.path, side, [])


def _as_scored(
    result: Result, path: Path, side: Side, frames_FHWC: np.ndarray, true_size: int | None
) -> Iterator[np.ndarray]:
    """The frames in the sizes that `eval.scoring.reading.read_clip` may have brought them to."""
    protocol = result.protocol
    if protocol.resolution is not None and protocol.resize is not None:
        yield _resized(path, frames_FHWC, protocol.resolution, protocol.resize)
        return
    yield frames_FHWC
    resize = None if result.setup is None else result.setup.resize
    if side == "generated" and true_size is not None and resize is not None and resize in get_args(Resize):
        yield _resized(path, frames_FHWC, true_size, resize)


def _resized(path: Path, frames_FHWC: np.ndarray, size: int, resize: str) -> np.ndarray:
    height, width = (side * size // min(frames_FHWC.shape[1:3]) for side in frames_FHWC.shape[1:3])
    check_pixels(path, width, height)
    return resize_frames(frames_FHWC, size, resize, said=False)
