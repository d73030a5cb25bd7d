"""What is to be known of how a video file is read.

Dimensions: F frames.
"""

import re
from pathlib import Path

import numpy as np

from src.common.errors import UserError
from src.media.orientation import orientation
from src.media.sources import decoding, ffmpeg_of, open_video

# Codes of ITU-T H.273: matrix coefficients that swscale tells apart, and transfer curves that a screen cannot show.
_MATRICES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020"}
_HDR = {16: "PQ", 18: "HLG"}
_FULL_RANGE = 2
_MISSING_SECONDS = 0.5  # what a file may lack of the length that it states, before that is said


def read_as(path: str | Path, times: np.ndarray) -> tuple[str, list[str]]:
    """How the frames of a video file are read, in words, and what is lost by it, each with how to mend it.

    Args:
        times: those of `timestamps`.

    Raises:
        UserError: not readable, or no frame in it.
    """
    with open_video(path) as container, decoding(path):
        stream = container.streams.video[0]
        frame = next(container.decode(stream), None)
        if frame is None:
            raise UserError(f"{path} holds no frames")
        lasts = _seconds(stream.metadata.get("DURATION", ""))
        aspect = stream.sample_aspect_ratio or 1
        stretched = f", pixels of {aspect} stretched to squares" if aspect != 1 else ""
        matrix = _MATRICES.get(int(frame.colorspace), "BT.601 (it says no other)")
        span = "full" if int(frame.color_range) == _FULL_RANGE else "limited"
        # Those of a GIF need no matrix.
        as_they_are = frame.format.is_rgb or frame.format.has_palette
        colours = "RGB colours" if as_they_are else f"colours of {matrix}, {span} range"
        lost = []
        if (curve := _HDR.get(int(frame.color_trc))) is not None:
            lost.append(
                f"{path} is HDR ({curve}), read without tone mapping, so its colours come out pale: convert it, for "
                f"example with {ffmpeg_of(path)} -vf zscale=t=linear:npl=203,tonemap=hable,zscale=p=709:t=709:m=709,"
                "format=yuv420p -c:a copy sdr.mp4"
            )
        if frame.interlaced_frame:
            lost.append(
                f"{path} is interlaced, and each frame is read with both its fields, so that what moves is torn into "
                f"combs: deinterlace it, for example with {ffmpeg_of(path)} -vf bwdif -c:a copy progressive.mp4"
            )
    # What stood still at the end, such as a screen, may be one long frame.
    if lasts - times[-1] > max(_MISSING_SECONDS, 2 * np.diff(times).max(initial=0)):
        lost.append(
            f"{path} says that it lasts {lasts:.4g} s and holds frames up to {times[-1]:.4g} s: it may have been cut "
            "off, as by a copy that was stopped; if so, get it whole"
        )
    return f"{frame.width}x{frame.height} pixels{orientation(frame)}{stretched}, {colours}", lost


def is_mirrored(path: str | Path) -> bool:
    """Whether left and right are exchanged before the frames of a video file are shown; see `Orientation`.

    Raises:
        UserError: not readable.
    """
    with open_video(path) as container, decoding(path):
        frame = next(container.decode(container.streams.video[0]), None)
        return frame is not None and orientation(frame).mirrored


def _seconds(clock: str) -> float:
    """Those of what Matroska states of a stream, `00:00:02.000000000`; 0 where it states nothing."""
    parts = re.fullmatch(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)", clock)
    return 0.0 if parts is None else int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3])
