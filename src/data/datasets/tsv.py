"""DisCo's TSV layout, in which the TikTok test videos are published.

    <split>_images.tsv     file name <tab> image in base64, one row a frame
    <split>_vid2line.tsv   file name <tab> [first, last], the rows of the frame's clip
    <split>_*.lineidx      byte offset of each row as text; <split>_*.lineidx.8b: as little-endian 64-bit integers

The masks and the drawn poses beside them hold nothing that this project reads: it extracts keypoints itself.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import UserError, in_one_line
from src.common.reading import MEBIBYTE, open_regular, read_bytes, read_text, safe_name
from src.media.pictures import check_image

# A frame in base64 takes a few MiB at most, an index a number of at most 20 digits a frame.
MAX_ROW_BYTES = 64 * MEBIBYTE
MAX_ROWS = 500_000
MAX_INDEX_BYTES = 21 * MAX_ROWS
Offsets = TypeVar("Offsets", np.ndarray, list[str])
_RANGE = re.compile(r"\s*\[\s*(-?[0-9]{1,9})\s*,\s*(-?[0-9]{1,9})\s*\]\s*")
_SUFFIX_OF_MAGIC = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"))


@dataclass(frozen=True)
class Rows:
    """The rows of a clip, `first` to `last` inclusive, and the key of its frames without their number."""

    key: str
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


class TsvFile:
    """Rows of a TSV file by number, read where the index says, or where a scan of the file does if it has none."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path} does not exist: DisCo's layout needs it")
        self.path = path
        self._offsets = _offsets(path)

    def __len__(self) -> int:
        return len(self._offsets)

    def row(self, index: int) -> list[str]:
        """The two or more columns of a row.

        Raises:
            UserError: the index is not this file's, so that no row is there.
        """
        offset = int(self._offsets[index]) if 0 <= index < len(self) else -1
        with open_regular(self.path) as file, in_one_line(self.path, "read"):
            size = file.seek(0, 2)
            starts_row = 0 <= offset < size
            if starts_row and offset:
                file.seek(offset - 1)
                starts_row = file.read(1) == b"\n"
            elif starts_row:
                file.seek(0)
            line = file.readline(MAX_ROW_BYTES) if starts_row else b""
        columns = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
        if not starts_row or len(columns) < 2 or len(line) == MAX_ROW_BYTES:
            raise UserError(
                f"{self.path}: row {index} is not where its index says (byte {offset}), or has no two columns: delete "
                "the .lineidx files beside it, or copy the data again"
            )
        return columns


def find_clips(images: TsvFile, clip_of_row: TsvFile) -> list[Rows]:
    """The clips of a split, in the order of their rows.

    The published files give a clip's rows either by number or, in the folders called offset, relative to the row that
    says it; what a file does is what makes all its rows agree.

    Raises:
        UserError: the files do not belong together, the rows agree in neither reading, or a clip's name is none that
            a folder can have.
    """
    if len(images) != len(clip_of_row):
        raise UserError(
            f"{images.path} has {counted(len(images), 'row')}, {clip_of_row.path} {len(clip_of_row)}: expected as many"
        )
    keys, ranges = [], []
    for index in range(len(clip_of_row)):
        key, text = clip_of_row.row(index)[:2]
        keys.append(key)
        ranges.append(_range(text, clip_of_row.path, index))
    for relative in (False, True):
        clips = _partition([(a + i, b + i) if relative else (a, b) for i, (a, b) in enumerate(ranges)])
        if clips is not None:
            return [
                Rows(safe_name(_clip_key(keys[first]), f"{images.path}: the clip of row {first}"), first, last)
                for first, last in clips
            ]
    raise UserError(f"{clip_of_row.path}: its rows do not agree on which frames belong to one clip")


def extract_frames(images: TsvFile, clip_of_row: TsvFile, rows: Rows, folder: Path) -> None:
    """Write a clip's images into a folder, byte for byte as they are stored, numbered in their order.

    Raises:
        UserError: a row is not the frame that it should be, or holds no JPEG or PNG.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for number, index in enumerate(range(rows.first, rows.last + 1)):
            key, text = (columns := images.row(index))[0], columns[-1]
            if key != clip_of_row.row(index)[0]:
                raise UserError(
                    f"{images.path}: row {index} is {key}, but {clip_of_row.row(index)[0]} in the clip list"
                )
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise UserError(f"{images.path}: row {index} ({key}) is not base64: {error}") from error
            suffix = next((suffix for magic, suffix in _SUFFIX_OF_MAGIC if data.startswith(magic)), None)
            if suffix is None:
                raise UserError(f"{images.path}: row {index} ({key}) is neither JPEG nor PNG")
            check_image(data, f"{images.path}: row {index} ({key})")
            (temporary / f"{number:05d}{suffix}").write_bytes(data)


def _offsets(path: Path) -> np.ndarray:
    binary, text = (path.with_suffix(suffix) for suffix in (".lineidx.8b", ".lineidx"))
    try:
        if binary.is_file():
            return _limited(path, np.frombuffer(read_bytes(binary, max_bytes=MAX_INDEX_BYTES), "<u8"))
        if text.is_file():
            words = read_text(text, max_bytes=MAX_INDEX_BYTES).split(maxsplit=MAX_ROWS)
            return np.array(_limited(path, words), np.uint64)
    except UserError:
        raise
    except (ValueError, OverflowError) as error:
        raise UserError(f"the index of {path} is damaged ({error}): delete the .lineidx files beside it") from error
    return np.fromiter(_scan(path), np.uint64)


def _limited(path: Path, offsets: Offsets) -> Offsets:
    if len(offsets) > MAX_ROWS:
        raise UserError(f"{path} has more than the {MAX_ROWS} rows that are read")
    return offsets


def _scan(path: Path) -> Iterator[int]:
    """Where each row begins; reads in pieces, for a row may be of any length."""
    start, position, count = 0, 0, 0
    with open_regular(path) as file, in_one_line(path, "read"):
        while piece := file.readline(MEBIBYTE):
            position += len(piece)
            if not piece.endswith(b"\n"):
                continue
            yield start
            start, count = position, count + 1
            if count > MAX_ROWS:
                raise UserError(f"{path} has more than the {MAX_ROWS} rows that are read")
        if position > start:
            yield start


def _range(text: str, path: Path, index: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UserError(f"{path}: row {index} is {text!r:.100}, expected [first, last]")
    return int(match[1]), int(match[2])


def _partition(ranges: list[tuple[int, int]]) -> list[tuple[int, int]] | None:
    """The distinct ranges in order if they cut all rows into clips and every row names its own; else None."""
    clips, next_row = [], 0
    while next_row < len(ranges):
        first, last = ranges[next_row]
        if (
            first != next_row
            or not first <= last < len(ranges)
            or ranges[first : last + 1] != [(first, last)] * (last - first + 1)
        ):
            return None
        clips.append((first, last))
        next_row = last + 1
    return clips


def _clip_key(frame: str) -> str:
    """`Custom_000_000001.png` is a frame of `Custom_000`."""
    return frame.rsplit(".", 1)[0].rsplit("_", 1)[0]
