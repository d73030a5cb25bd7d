"""DisCo's TSV layout, in which the TikTok test videos are published.

    <split>_images.tsv     file name <tab> image in base64, one row a frame
    <split>_vid2line.tsv   file name <tab> [first, last], the rows of the frame's clip
    <split>_*.lineidx      byte offset of each row as text; <split>_*.lineidx.8b: as little-endian 64-bit integers

The masks and the drawn poses beside them hold nothing that this project reads: it extracts keypoints itself.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.common.errors import UserError
from src.common.files import atomic_path

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
        offset = int(self._offsets[index])
        with open(self.path, "rb") as file:
            file.seek(max(offset - 1, 0))
            starts_row = offset == 0 or file.read(1) == b"\n"
            columns = file.readline().decode().rstrip("\r\n").split("\t")
        if not starts_row or len(columns) < 2:
            raise UserError(
                f"{self.path}: row {index} is not where its index says (byte {offset}): delete the .lineidx files "
                "beside it, or copy the data again"
            )
        return columns


def find_clips(images: TsvFile, clip_of_row: TsvFile) -> list[Rows]:
    """The clips of a split, in the order of their rows.

    The published files give a clip's rows either by number or, in the folders called offset, relative to the row that
    says it; what a file does is what makes all its rows agree.

    Raises:
        UserError: the files do not belong together, or the rows agree in neither reading.
    """
    if len(images) != len(clip_of_row):
        raise UserError(
            f"{images.path} has {len(images)} rows, {clip_of_row.path} {len(clip_of_row)}: expected as many"
        )
    keys, ranges = [], []
    for index in range(len(clip_of_row)):
        key, text = clip_of_row.row(index)[:2]
        keys.append(key)
        ranges.append(_range(text, clip_of_row.path, index))
    for relative in (False, True):
        clips = _partition([(a + i, b + i) if relative else (a, b) for i, (a, b) in enumerate(ranges)])
        if clips is not None:
            return [Rows(_clip_key(keys[first]), first, last) for first, last in clips]
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
            except binascii.Error as error:
                raise UserError(f"{images.path}: row {index} ({key}) is not base64: {error}") from error
            suffix = next((suffix for magic, suffix in _SUFFIX_OF_MAGIC if data.startswith(magic)), None)
            if suffix is None:
                raise UserError(f"{images.path}: row {index} ({key}) is neither JPEG nor PNG")
            (temporary / f"{number:05d}{suffix}").write_bytes(data)


def _offsets(path: Path) -> np.ndarray:
    binary, text = (path.with_suffix(suffix) for suffix in (".lineidx.8b", ".lineidx"))
    try:
        if binary.is_file():
            return np.frombuffer(binary.read_bytes(), "<u8")
        if text.is_file():
            return np.array(text.read_text().split(), np.uint64)
    except ValueError as error:
        raise UserError(f"the index of {path} is damaged ({error}): delete the .lineidx files beside it") from error
    return np.fromiter(_scan(path), np.uint64)


def _scan(path: Path) -> Iterator[int]:
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            yield offset
            offset += len(line)


def _range(text: str, path: Path, index: int) -> tuple[int, int]:
    try:
        first, last = (int(value) for value in json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: row {index} is {text!r}, expected [first, last]") from error
    return first, last


def _partition(ranges: list[tuple[int, int]]) -> list[tuple[int, int]] | None:
    """The distinct ranges in order if they cut all rows into clips and every row names its own; else None."""
    clips, next_row = [], 0
    while next_row < len(ranges):
        first, last = ranges[next_row]
        if first != next_row or last < first or ranges[first : last + 1] != [(first, last)] * (last - first + 1):
            return None
        clips.append((first, last))
        next_row = last + 1
    return clips


def _clip_key(frame: str) -> str:
    """`Custom_000_000001.png` is a frame of `Custom_000`."""
    return frame.rsplit(".", 1)[0].rsplit("_", 1)[0]
