"""Poses on disk: our `.npz`, and OpenPose JSON as one file or a folder of one file a frame."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from src.common.arrays import read_npz
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import DamagedFile, UserError, in_one_line
from src.common.files import natural_key
from src.common.reading import MEBIBYTE, Limits, read_json, size_in_words
from src.pose.keypoints import PoseSequence
from src.pose.openpose_json import MAX_CANVAS, MAX_COORDINATE, canvas_size, parse_frames, to_documents
from src.pose.tracking import Crowd, PersonChoice, select_person

NPZ_VERSION = 1
EXPECTED = "expected a .npz, an OpenPose .json, or a folder of OpenPose .json files"
# Fifty thousand poses, in one file or in as many; a file of a folder holds the people of one frame.
MAX_FRAMES = 50_000
CLIP_LIMITS = Limits(max_bytes=512 * MEBIBYTE, max_values=20_000_000)
FRAME_LIMITS = Limits(max_bytes=4 * MEBIBYTE, max_values=100_000)
FPS_RANGE = (0.01, 1000.0)


def save_poses(
    path: str | Path, poses: PoseSequence, *, fps: float | None = None, size: tuple[int, int] | None = None
) -> None:
    """Write poses, whole or not at all.

    Args:
        path: `.npz` (xy, confidence, mask, version, and fps and size if given; bit-exact), `.json` (a list of frames as
            web pose editors read it), or a name without suffix (a folder of one JSON a frame, as OpenPose writes it).
        poses: F poses.
        fps: frames per second, kept for `PoseFile.fps`.
        size: (height, width) of the picture that the poses are of, kept for `PoseFile.size`; JSON counts in its pixels.
            None: not known; JSON says 512x512.

    Raises:
        UserError: another suffix.
    """
    path = Path(path)
    if path.suffix == ".npz":
        extra = {} if fps is None else {"fps": np.float64(fps)}
        extra |= {} if size is None else {"size": np.array(size, np.int64)}
        with atomic_path(path) as temporary:
            arrays = {"xy": poses.xy, "confidence": poses.confidence, "mask": poses.mask}
            np.savez_compressed(temporary, version=np.int64(NPZ_VERSION), **arrays, **extra)
        return
    documents = to_documents(poses, size=size or (512, 512), fps=fps)
    if path.suffix == ".json":
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(documents, allow_nan=False) + "\n")
    elif not path.suffix:
        with atomic_path(path) as temporary:
            temporary.mkdir()
            for i, document in enumerate(documents):
                text = json.dumps(document, allow_nan=False) + "\n"
                (temporary / f"{path.name}_{i:012d}_keypoints.json").write_text(text)
    else:
        raise UserError(f"{path}: cannot write poses as {path.suffix}; {EXPECTED}")


class PoseFile:
    """Poses on disk, read once: `.npz`, a JSON file of one frame or a list of frames, or a folder of JSON files.

    Files of a folder are taken in natural order ("2" before "10").

    Args:
        path: file or folder.

    Raises:
        UserError: missing, unreadable or of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._arrays = read_npz(self.path) if _is_npz(self.path) else None
        self._documents = [] if self._arrays is not None else _documents(self.path)

    def people(
        self, *, size: tuple[int, int] | None = None, person: PersonChoice = "largest"
    ) -> tuple[PoseSequence, Crowd | None]:
        """The poses. With several people one is followed (`src.pose.tracking`), which the log says.

        Args:
            size: (height, width) of the picture, for pixel coordinates in JSON that does not state its canvas.
            person: of several in JSON, see `src.pose.tracking.follow`.

        Returns:
            The poses, and everybody who was found; None of `.npz`, which holds one person.

        Raises:
            UserError: of another shape, or without any person.
        """
        if self._arrays is not None:
            return _of_arrays(self.path, self._arrays), None
        frames = parse_frames(self.path, self._documents, size=size)
        return select_person(frames, source=str(self.path), person=person)

    def fps(self) -> float | None:
        """Frames per second that `save_poses` was given, or None if the file does not say.

        Raises:
            UserError: a rate that no clip has.
        """
        if self._arrays is not None:
            array = self._arrays.get("fps")
            fps = None if array is None else array.item() if array.size == 1 else str(array.shape)
        else:
            first = next(iter(self._documents), None)
            fps = first.get("fps") if isinstance(first, dict) else None
        if fps is None:
            return None
        number = isinstance(fps, (int, float)) and not isinstance(fps, bool) and FPS_RANGE[0] <= fps <= FPS_RANGE[1]
        if not number:
            least, most = FPS_RANGE
            raise DamagedFile(f"{self.path}: fps is {fps!r:.60}: expected {least:g} to {most:g} frames a second")
        return float(fps)

    def size(self) -> tuple[int, int] | None:
        """(height, width) of the picture that the poses are of, or None if the file does not say.

        Raises:
            UserError: no size that a picture has, or, in JSON, pictures of several shapes.
        """
        if self._arrays is None:
            return canvas_size(self.path, self._documents)
        size = self._arrays.get("size")
        if size is None:
            return None
        if size.shape != (2,) or size.dtype.kind not in "iu" or not (size.min() >= 1 and size.max() <= MAX_CANVAS):
            raise DamagedFile(f"{self.path}: size must be a picture's height and width, from 1 to {MAX_CANVAS} pixels")
        return int(size[0]), int(size[1])


def load_poses(path: str | Path) -> PoseSequence:
    """The poses of `PoseFile.people` alone, whose errors these are."""
    return PoseFile(path).people()[0]


def _is_npz(path: Path) -> bool:
    with in_one_line(path, "read"):
        return path.suffix.lower() == ".npz" and path.exists() and not path.is_dir()


def _of_arrays(path: Path, arrays: dict[str, np.ndarray]) -> PoseSequence:
    missing = [key for key in ("xy", "confidence", "mask", "version") if key not in arrays]
    if missing:
        raise DamagedFile(f"{path}: {', '.join(missing)} missing; expected the arrays xy, confidence, mask and version")
    if arrays["version"].shape or arrays["version"] != NPZ_VERSION:
        version = arrays["version"] if not arrays["version"].shape else f"of shape {arrays['version'].shape}"
        raise DamagedFile(f"{path}: version {version} of the pose file, expected {NPZ_VERSION}")
    if not 0 < math.prod(arrays["xy"].shape[:1]) <= MAX_FRAMES:
        raise UserError(f"{path}: keypoints of shape {arrays['xy'].shape}, expected 1 to {MAX_FRAMES} frames")
    try:
        with np.errstate(over="ignore"):
            poses = PoseSequence(arrays["xy"], arrays["confidence"], arrays["mask"])
    except ValueError as error:
        raise DamagedFile(f"{path}: {error}") from None
    if poses.confidence.min() < 0 or poses.confidence.max() > 1 or np.abs(poses.xy).max() > MAX_COORDINATE:
        raise DamagedFile(
            f"{path}: expected confidences from 0 to 1, and coordinates in units of the frame (to {MAX_COORDINATE:.0f})"
        )
    return poses


def _documents(path: Path) -> list[Any]:
    """Parsed JSON objects, one a frame."""
    with in_one_line(path, "read"):
        if path.is_dir():
            files = [file for file in path.iterdir() if file.suffix.lower() == ".json"]
            return _documents_of(sorted(files, key=lambda file: natural_key(file.name)), path)
        if not path.exists():
            raise UserError(f"{path}: no such file; {EXPECTED}")
    if path.suffix.lower() != ".json":
        raise UserError(f"{path}: unknown kind of pose file; {EXPECTED}")
    document = read_json(path, CLIP_LIMITS)
    documents = document if isinstance(document, list) else [document]
    if len(documents) > MAX_FRAMES:
        raise UserError(f"{path}: {len(documents)} frames, more than the {MAX_FRAMES} that are read: cut it")
    return documents


def _documents_of(files: list[Path], folder: Path) -> list[Any]:
    if not 0 < len(files) <= MAX_FRAMES:
        raise UserError(f"{folder}: {len(files) or 'no'} .json files in this folder; {EXPECTED}")
    # Each may be a link to the same large one.
    if (total := sum(file.stat().st_size for file in files)) > CLIP_LIMITS.max_bytes:
        most = size_in_words(CLIP_LIMITS.max_bytes)
        raise UserError(f"{folder}: {size_in_words(total)} of .json files, more than the {most} that are read: cut it")
    documents = []
    for file in files:
        document = read_json(file, FRAME_LIMITS)
        if isinstance(document, list) and len(document) != 1:
            raise UserError(f"{file}: {counted(len(document), 'frame')}; expected one in each file of a folder")
        documents.append(document[0] if isinstance(document, list) else document)
    return documents
