"""A subject's real and generated videos side by side in one file, so that they cannot drift apart.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.
"""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eval.reporting.results import Result
from eval.reporting.scored_videos import scored_video
from eval.reporting.worst_frames import WorstFrame, as_webp, worst_frames
from src.common.counting import counted
from src.common.errors import UserError
from src.media.video import Video, write_video

# Constant rate factor of the page's videos: for looking at, small enough for a hundred of them.
CRF = 23
REAL = "real"


@dataclass(frozen=True)
class Comparison:
    """A subject's videos on the page.

    Attributes:
        columns: what stands side by side, left to right.
        widths: of each, in pixels of the video.
        data: the H.264 file in base64, or None where nothing could be read.
        poster: its middle frame, a WebP in base64, or None.
        fps: frames a second.
        numbers: by result, its values of the subject.
        absent: what could not be shown, and why.
        worst: of each method, the frames whose face and hands are farthest from the true ones.
        found: by result, the share of keypoints found of each metric that says it of the subject.
    """

    subject: str
    columns: tuple[str, ...]
    widths: tuple[int, ...]
    data: str | None
    poster: str | None
    fps: float
    numbers: tuple[tuple[str, dict[str, float]], ...]
    absent: tuple[str, ...]
    worst: tuple[WorstFrame, ...] = ()
    found: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def compare(subject: str, results: Sequence[Result], labels: Sequence[str], *, height: int) -> Comparison:
    """Put the real video and each result's next to each other.

    Videos that are gone, other than what was scored (`scored_video`), of another length than the first, or scored
    against other true frames than those that are shown are listed in `absent` instead.

    Args:
        labels: of the results.
        height: of the page's video in pixels; widths follow.
    """
    columns: list[str] = []
    sides: list[np.ndarray] = []
    worst: list[WorstFrame] = []
    absent: list[str] = []
    having = [(label, result) for label, result in zip(labels, results, strict=True) if subject in result.files]
    first, true = _true_video(subject, [result for _, result in having], absent)
    fps = Fraction(10) if true is None else true.fps
    if true is not None:
        columns.append(REAL)
        sides.append(_to_height(true.frames, height))
    for label, result in having:
        if first is not None and not result.same_frames(first, subject):
            absent.append(f"{label}: scored against other true frames than those that are shown")
            continue
        if result.files[subject]["generated"] is None:
            continue
        try:
            video = scored_video(result, subject, "generated", None if true is None else true.frames)
        except UserError as error:
            absent.append(f"{label}: {error}")
            continue
        if sides and len(video.frames) != len(sides[0]):
            absent.append(f"{label}: {counted(len(video.frames), 'frame')} where {columns[0]} has {len(sides[0])}")
            continue
        if true is not None:
            worst += worst_frames(label, video.frames, true.frames, true.path.parent / "poses.npz")
        columns.append(label)
        sides.append(_to_height(video.frames, height))
        fps = video.fps
    numbers = tuple(
        (label, {name: value for name, value in result.clips[subject].items() if name != "frames"})
        for label, result in zip(labels, results, strict=True)
        if subject in result.clips
    )
    whole_FHWC = np.concatenate(sides, axis=2) if sides else None
    data = None if whole_FHWC is None else _encode(whole_FHWC, fps)
    poster = None if whole_FHWC is None else as_webp(whole_FHWC[len(whole_FHWC) // 2])
    widths = tuple(side.shape[2] for side in sides)
    found = {
        label: shares for label, result in zip(labels, results, strict=True) if (shares := result.found.get(subject))
    }
    shown = tuple(columns), widths, data, poster, float(fps)
    return Comparison(subject, *shown, numbers, tuple(absent), tuple(worst), found)


def _true_video(subject: str, results: Sequence[Result], absent: list[str]) -> tuple[Result | None, Video | None]:
    """The true video that a result names and scored against, and that result, by which the others are compared.

    Args:
        absent: takes why one could not be shown.
    """
    naming = [result for result in results if result.files[subject]["real"] is not None]
    for result in naming:
        try:
            return result, scored_video(result, subject, "real")
        except UserError as error:
            if (line := f"{REAL}: {error}") not in absent:
                absent.append(line)
    return next(iter(naming), None), None


def _to_height(frames_FHWC: np.ndarray, height: int) -> np.ndarray:
    width = round(frames_FHWC.shape[2] * height / frames_FHWC.shape[1])
    if (height, width) == frames_FHWC.shape[1:3]:
        return frames_FHWC
    return np.stack(
        [np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.LANCZOS)) for f in frames_FHWC]
    )


def _encode(frames_FHWC: np.ndarray, fps: Fraction) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, frames_FHWC, fps, crf=CRF)
        return base64.b64encode(path.read_bytes()).decode()
