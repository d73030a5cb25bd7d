"""Arrays of numbers on disk (`.npz`, `.npy`), whose headers are checked before any memory is taken.

A header of a hundred bytes can claim terabytes, and a zip of a kilobyte can unpack to gigabytes: what is claimed must
be what is there, and within the limit.
"""

import math
import os
import pickletools
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import numpy as np

from src.common.errors import DamagedFile, UserError, in_one_line
from src.common.reading import MEBIBYTE, open_regular, size_in_words

MAX_MEMBERS = 64
HELD_BYTES = 2**28  # pictures of a clip that are more than this wait on disk
_KINDS = "biuf"
_ZIP, _END_OF_ZIP, _END_SIZE, _ZIP64 = b"PK\x03\x04", b"PK\x05\x06", 22, b"PK\x06\x07"
_LONGEST_COMMENT = 2**16
_ENCRYPTED = 0x1
_OLD_PICKLES = 5  # a magic number, a version, the system, names and tensors, storages
MAX_PICKLE_BYTES = 4 * MEBIBYTE  # of the names and shapes of a checkpoint; 20,000 tensors take 3


class Frames(Protocol):
    """Pictures (F, H, W, C) uint8 that are looked at one after another: an array, a map of a file, or `MadeFrames`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class MadeFrames:
    """Pictures that are made whenever they are asked for, so that a long clip of them is never in memory.

    Args:
        make: picture (H, W, 3) uint8 RGB of a number.
        count: F.
        size: (H, W) in pixels.

    >>> frames = MadeFrames(lambda i: np.full((2, 3, 3), i, np.uint8), 4, (2, 3))
    >>> frames.shape, len(frames), [int(frame.max()) for frame in frames], int(frames[-1].max())
    ((4, 2, 3, 3), 4, [0, 1, 2, 3], 3)
    """

    def __init__(self, make: Callable[[int], np.ndarray], count: int, size: tuple[int, int]) -> None:
        self._make, self.shape = make, (count, *size, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._make(index % len(self))

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self._make, range(len(self)))


def picked(frames: Frames, which: slice | Sequence[int]) -> MadeFrames:
    """Some of the frames, which are looked at when they are asked for.

    >>> [int(x.max()) for x in picked(np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1), slice(1, 3))]
    [1, 2]
    """
    numbers = range(len(frames))[which] if isinstance(which, slice) else which
    return MadeFrames(lambda index: frames[numbers[index]], len(numbers), height_width(frames))


def collected(frames: Iterable[np.ndarray], count: int, size: tuple[int, int]) -> np.ndarray:
    """Pictures, taken one at a time, as one array (F, H, W, 3) uint8.

    Of more than `HELD_BYTES` it is a read-only map of a file without a name in the folder for temporary files (TMPDIR),
    so that a clip of thousands takes the memory of those that are looked at.

    Args:
        frames: F of them, all of one size.
        count: F.
        size: (H, W) in pixels.

    Raises:
        ResourceError: the disk is full, or refuses.

    >>> collected((np.full((2, 3, 3), i, np.uint8) for i in range(4)), 4, (2, 3)).max((1, 2, 3)).tolist()
    [0, 1, 2, 3]
    """
    shape = (count, *size, 3)
    if math.prod(shape) <= HELD_BYTES:
        held_FHWC = np.empty(shape, np.uint8)
        for index, frame in enumerate(frames):
            held_FHWC[index] = frame
        return held_FHWC
    folder = tempfile.gettempdir()
    with in_one_line(folder, "written"), tempfile.TemporaryFile(dir=folder) as file:
        for frame in frames:
            file.write(np.ascontiguousarray(frame).data)
        file.flush()
        return np.memmap(file, np.uint8, "r", 0, shape)


def height_width(images: Frames) -> tuple[int, int]:
    """Size in pixels of an image (H, W, C) or of images (..., H, W, C)."""
    height, width = images.shape[-3:-1]
    return height, width


def read_npz(path: str | Path, *, max_bytes: int = 512 * MEBIBYTE) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file: booleans, integers and floats, of at most `max_bytes` all together.

    Raises:
        ResourceError: it cannot be read.
        DamagedFile: it is no such file, or its parts are not what they claim to be.
        UserError: it is no regular file, or its arrays are larger than allowed.
    """
    with open_regular(path) as file, in_one_line(path, "read"):
        try:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                names = [_member_name(info) for info in archive.infolist()]
                if len(set(names)) < len(names):
                    raise ValueError("an array is there twice")
                total = sum(info.file_size for info in archive.infolist())
                if total > max_bytes:
                    raise UserError(
                        f"{path} unpacks to {size_in_words(total)}, more than the {size_in_words(max_bytes)} that "
                        "such a file may have"
                    )
                return {name: _read_member(archive, info) for name, info in zip(names, archive.infolist(), strict=True)}
        except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, NotImplementedError) as error:
            if isinstance(error, UserError):
                raise
            raise DamagedFile(f"{path} is not readable as arrays (.npz): {error or 'it ends too early'}") from None


def map_npy(path: str | Path) -> np.ndarray:
    """A `.npy` file of booleans, integers or floats as a read-only memory map.

    Raises:
        ResourceError: it cannot be read.
        DamagedFile: it is no such file, or not as long as its header says.
        UserError: it is no regular file.
    """
    with open_regular(path) as file, in_one_line(path, "read"):
        try:
            shape, fortran, dtype = _header(file)
            offset, there = file.tell(), os.fstat(file.fileno()).st_size
            wanted = offset + math.prod(shape) * dtype.itemsize
            if there != wanted:
                raise ValueError(f"{there} bytes where its header says {wanted}")
            if wanted == offset:
                raise ValueError("it holds no values")
            return np.memmap(file, dtype, "r", offset, shape, "F" if fortran else "C")
        except (ValueError, EOFError) as error:
            raise DamagedFile(f"{path} is not readable as an array (.npy): {error or 'it ends too early'}") from None


def check_packed(path: str | Path) -> bool:
    """Refuse a checkpoint of PyTorch that is smaller on disk than what reading it as data builds.

    PyTorch compresses no weights, and reads compressed ones all the same: ten kilobytes of empty lists take a gigabyte.
    A byte of a pickle, in a zip or as PyTorch wrote them until 1.6, takes up to 64.

    Returns:
        Whether it is a zip, whose tensors PyTorch can leave on disk.

    Raises:
        ResourceError: it cannot be read.
        DamagedFile: a part of it is compressed, or a pickle is too large.
        UserError: it is no regular file.
        ValueError: it is neither a zip nor of the old format, or damaged.
    """
    with open_regular(path) as file, in_one_line(path, "read"):
        # By what PyTorch goes.
        if file.read(len(_ZIP)) != _ZIP:
            _check_pickles(file, path)
            return False
        try:
            parts = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, struct.error, ValueError, EOFError, NotImplementedError) as error:
            raise ValueError(f"{path} is not readable as a checkpoint: {error}") from None
    for part in parts:
        if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
            raise DamagedFile(f"{path} holds {part.filename!r:.60} compressed, as PyTorch packs code but no weights")
        if part.filename.lower().endswith(".pkl") and part.file_size > MAX_PICKLE_BYTES:
            raise _too_many_names(path, part.file_size)
    return True


def _check_pickles(file: BinaryIO, path: str | Path) -> None:
    """The same of the pickles that the old format begins with, of which `pickletools` builds nothing."""
    end = 0
    for _ in range(_OLD_PICKLES):
        file.seek(end)
        piece, last = file.read(MAX_PICKLE_BYTES), 0
        try:
            for _, _, position in pickletools.genops(piece):
                last = position or 0
        except ValueError:
            # Where it stops early, it is none.
            if last < MAX_PICKLE_BYTES // 2:
                raise
            raise _too_many_names(path, os.fstat(file.fileno()).st_size - end) from None
        end += last + 1


def _too_many_names(path: str | Path, size: int) -> DamagedFile:
    return DamagedFile(f"{path} holds {size_in_words(size)} of pickled names: no model of this family has so many")


def _check_directory(file: BinaryIO) -> None:
    """Refuse a zip with more entries than arrays can be, before `zipfile` lists them all."""
    size = file.seek(0, os.SEEK_END)
    start = max(size - _LONGEST_COMMENT - _END_SIZE - len(_ZIP64) - 16, 0)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(_END_OF_ZIP)
    if end < 0 or len(tail) - end < _END_SIZE:
        raise ValueError("it is no zip file")
    entries, bytes_of_directory = struct.unpack("<HL", tail[end + 10 : end + 16])
    # The 64-bit form, for files that are larger than any that is read here, would overrule these numbers.
    if (
        entries > MAX_MEMBERS
        or bytes_of_directory > MAX_MEMBERS * 1024
        or tail[max(end - 20, 0) : end].startswith(_ZIP64)
    ):
        raise ValueError(f"it holds more than {MAX_MEMBERS} arrays")
    file.seek(0)


def _member_name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename!r:.60} is packed in a way that numpy does not use")
    if not info.filename.endswith(".npy"):
        raise ValueError(f"{info.filename!r:.60} is no array")
    return info.filename.removesuffix(".npy")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        shape, fortran, dtype = _header(member)
        offset = member.tell()
        size = math.prod(shape) * dtype.itemsize
        if offset + size != info.file_size:
            raise ValueError(f"{info.filename!r:.60} says that it holds {shape} {dtype}, which its size contradicts")
        array = np.empty(math.prod(shape), dtype)
        view = array.data.cast("B") if size else memoryview(b"")
        done = 0
        while done < size:
            piece = member.read(min(MEBIBYTE, size - done))
            if not piece:
                raise EOFError
            view[done : done + len(piece)] = piece
            done += len(piece)
        # Reading to the end makes zipfile compare the checksum.
        member.read(1)
    return array.reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type that a `.npy` claims, with the file left at its first value."""
    # Later versions are for headers of more than 64 KiB, which plain numbers do not need.
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its header is of another version than 1.0")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        # Numpy hands the text to Python's parser, which raises whatever it meets.
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.fields or dtype.subdtype:
        raise ValueError(f"its values are {dtype!s:.60}: expected plain numbers")
    if len(shape) > 8 or any(side < 0 for side in shape):
        raise ValueError(f"its shape is {shape!s:.100}")
    return shape, fortran, dtype
