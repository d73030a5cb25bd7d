"""The frames of a long video on disk, window after window, so that a video that was stopped goes on from its last one.

    <folder>/frames.npy     (M, H, W, 3) uint8 RGB, which grows in the order of time
    <folder>/windows.json   what the frames are of, and the SHA-256 of each window that is whole

Dimensions: M target poses, H×W pixels, L frames of a window.
"""

import hashlib
import io
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.common.arrays import map_npy
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import in_one_line
from src.common.files import read_record, write_json
from src.common.reading import open_regular

log = logging.getLogger(__name__)
FRAMES, RECORD = "frames.npy", "windows.json"


class KeptFrames:
    """One file of frames that is written a window at a time.

    A window counts when the record names it, which is written after its frames have reached the disk. What is there of
    another job, or not as it was written, is made again.

    Args:
        folder: of the two files; made where it is not there.
        key: of everything that the frames depend on.
        size: (H, W).
        lengths: of the windows, in the order of time.
    """

    def __init__(self, folder: Path, *, key: str, size: tuple[int, int], lengths: Sequence[int]) -> None:
        self._path, self._record, self._key = folder / FRAMES, folder / RECORD, key
        self._lengths, self._frame_bytes = lengths, math.prod(size) * 3
        header = io.BytesIO()
        shape = (sum(lengths), *size, 3)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self._header = header.getvalue()
        self._whole = self._found()
        if self._whole:
            log.info("%d of %s sampled before: %s", len(self._whole), counted(len(lengths), "window"), folder)
        else:
            with atomic_path(self._path) as temporary:
                temporary.write_bytes(self._header)
            self._save_record()

    @property
    def done(self) -> int:
        """How many windows are whole; they are the first."""
        return len(self._whole)

    def add(self, frames_LHWC: np.ndarray) -> None:
        """Write the next window.

        Raises:
            ResourceError: the disk is full, or refuses.
        """
        data = np.ascontiguousarray(frames_LHWC).data
        with in_one_line(self._path, "written"), open(self._path, "r+b") as file:
            file.seek(self._start(self.done))
            file.write(data)
            # A longer rest is of a window that was written and not recorded.
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        self._whole.append(hashlib.sha256(data).hexdigest())
        self._save_record()

    def frames(self) -> np.ndarray:
        """(M, H, W, 3) uint8, read-only, on disk until they are read; all windows are whole."""
        return map_npy(self._path)

    def _start(self, window: int) -> int:
        return len(self._header) + sum(self._lengths[:window]) * self._frame_bytes

    def _found(self) -> list[str]:
        """Checksums of the windows from before that are as they were written."""
        record = read_record(self._record)
        if record is None or record.get("key") != self._key or not self._path.is_file():
            return []
        named = record.get("windows")
        whole: list[str] = []
        with open_regular(self._path) as file, in_one_line(self._path, "read"):
            if file.read(len(self._header)) != self._header:
                return []
            for expected, length in zip(named if isinstance(named, list) else [], self._lengths, strict=False):
                found = hashlib.sha256()
                for _ in range(length):
                    found.update(file.read(self._frame_bytes))
                if found.hexdigest() != expected:
                    log.warning("%s is not as it was written from window %d on: made again", self._path, len(whole))
                    break
                whole.append(expected)
        return whole

    def _save_record(self) -> None:
        write_json(self._record, {"key": self._key, "windows": self._whole})
