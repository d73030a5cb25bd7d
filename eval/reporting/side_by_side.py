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
from eval.reporting.worst_frames import WorstFrame, as_webp, worst_frames
from src.common.counting import counted
from src.common.errors import UserError
from src.media.video import read_video, write_video

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

    Videos that are gone, of another length than the first, or scored against other true frames than those that are
    shown are listed in `absent` instead.

    Args:
        labels: of the results.
        height: of the page's video in pixels; widths follow.
    """
    columns: list[str] = []
    sides: list[np.ndarray] = []
    worst: list[WorstFrame] = []
    absent: list[str] = []
    fps, true, poses = Fraction(10), None, Path()
    having = [(label, result) for label, result in zip(labels, results, strict=True) if subject in result.files]
    first = next((result for _, result in having if result.files[subject]["real"] is not None), None)
    wanted = [] if first is None else [(REAL, first.files[subject]["real"])]
    for label, result in having:
        if first is None or result.same_frames(first, subject):
            wanted.append((label, result.files[subject]["generated"]))
        else:
            absent.append(f"{label}: scored against other true frames than those that are shown")
    for label, path in wanted:
        if path is None:
            continue
        try:
            video = read_video(Path(path))
        except UserError as error:
            absent.append(f"{label}: {error}")
            continue
        if sides and len(video.frames) != len(sides[0]):
            absent.append(f"{label}: {counted(len(video.frames), 'frame')} where {columns[0]} has {len(sides[0])}")
            continue
        if label == REAL and not sides:
            true, poses = video.frames, Path(path).parent / "poses.npz"
        elif true is not None:
            worst += worst_frames(label, video.frames, true, poses)
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
