"""Pictures for people to look at: contact sheets and videos side by side.

Dimensions: F frames, H x W pixels, RGB uint8.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.common.arrays import Frames
from src.common.atomic import atomic_path

_BACKGROUND, _INK, _GAP = 255, (30, 30, 30), 4
_LEAST_TEXT = 11  # in pixels; smaller is hard to read


class Row(NamedTuple):
    """Frames (F, H, W, 3) with what they are called: a row of a sheet, a panel of a video."""

    label: str
    frames: Frames


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices out of `count`, evenly spread, first and last included.

    >>> evenly_spaced(9, 3), evenly_spaced(2, 3)
    ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist()


def contact_sheet(
    rows: Sequence[Row],
    path: str | Path,
    *,
    columns: int = 10,
    cell: int | None = None,
    caption: str | None = None,
) -> None:
    """Write rows of pictures with their labels on the left as one picture, whole or not at all.

    Args:
        rows: labelled frames. The rows show the same frame numbers: `columns` of
            them, evenly spread over the longest row, and a blank where a row has ended.
        path: where to; the suffix chooses the format.
        columns: how many pictures a row has at most.
        cell: height of a picture in pixels; None: that of the first row, at most 256.
        caption: a line above the pictures; None: none.
    """
    if not rows or not all(len(frames) for _, frames in rows):
        raise ValueError("a contact sheet needs rows, and every row frames")
    shown = evenly_spaced(max(len(frames) for _, frames in rows), columns)
    height = cell or min(rows[0][1].shape[1], 256)
    width = round(height * rows[0][1].shape[2] / rows[0][1].shape[1])
    text_size = max(_LEAST_TEXT, height // 12)
    font = ImageFont.load_default(size=text_size)
    margin = _GAP + max(round(font.getlength(label)) for label, _ in rows) + 2 * _GAP
    banner = 0 if caption is None else text_size + 2 * _GAP
    said = 0 if caption is None else 2 * _GAP + math.ceil(font.getlength(caption))
    canvas_size = (max(margin + len(shown) * (width + _GAP), said), banner + _GAP + len(rows) * (height + _GAP))
    canvas = Image.new("RGB", canvas_size, (_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(canvas)
    if caption is not None:
        draw.text((_GAP, _GAP + banner / 2), caption, _INK, font, anchor="lm")
    for row, (label, frames) in enumerate(rows):
        top = banner + _GAP + row * (height + _GAP)
        draw.text((_GAP, top + height // 2), label, _INK, font, anchor="lm")
        for column, index in enumerate(i for i in shown if i < len(frames)):
            canvas.paste(_resized(frames[index], width, height), (margin + column * (width + _GAP), top))
    with atomic_path(path) as temporary:
        canvas.save(temporary)


def side_by_side(rows: Sequence[Row]) -> Iterator[np.ndarray]:
    """Join videos of equal length from left to right, with their labels above, a frame at a time.

    Labels that are wider than their videos are written smaller, and where that is too small the videos stand apart.

    Args:
        rows: labelled videos; all are brought to the height of the tallest.

    Returns:
        F frames (H', W', 3) uint8 with even H' and W', as H.264 wants them.
    """
    videos, labels = [row.frames for row in rows], [row.label for row in rows]
    if len({len(video) for video in videos}) != 1:
        raise ValueError(f"videos of one length expected, got {[len(video) for video in videos]}, {labels}")
    return _joined(videos, labels)


def _joined(videos: Sequence[Frames], labels: Sequence[str]) -> Iterator[np.ndarray]:
    height = max(video.shape[1] for video in videos)
    widths = [round(height * video.shape[2] / video.shape[1]) for video in videos]
    text_size = max(_LEAST_TEXT, height // 20)
    banner = text_size + 2 * _GAP
    font = ImageFont.load_default(size=text_size)
    room = min(width / max(font.getlength(label), 1) for width, label in zip(widths, labels, strict=True))
    if room < 1:
        font = ImageFont.load_default(size=max(_LEAST_TEXT, math.floor(text_size * room)))
    columns = [max(width, math.ceil(font.getlength(label))) for width, label in zip(widths, labels, strict=True)]
    lefts = np.cumsum([_GAP, *(column + _GAP for column in columns)]).astype(int)
    size = (int(lefts[-1]), int(banner + height + _GAP))
    size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    canvas = Image.new("RGB", size, (_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(canvas)
    for left, column, label in zip(lefts, columns, labels, strict=False):
        draw.text((left + column / 2, banner / 2), label, _INK, font, anchor="mm")
    for index in range(len(videos[0])):
        for left, column, width, video in zip(lefts, columns, widths, videos, strict=False):
            canvas.paste(_resized(video[index], width, height), (int(left) + (column - width) // 2, banner))
        yield np.array(canvas)


def _resized(frame: np.ndarray, width: int, height: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
