"""Poses on disk: our `.npz`, and OpenPose JSON as one file or a folder of one file a frame."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from src.common.errors import UserError
from src.common.files import atomic_path, natural_key
from src.pose.keypoints import PoseSequence
from src.pose.openpose_json import parse_frames, to_documents
from src.pose.tracking import select_person

NPZ_VERSION = 1
EXPECTED = "expected a .npz, an OpenPose .json, or a folder of OpenPose .json files"


def save_poses(
    path: str | Path, poses: PoseSequence, *, fps: float | None = None, size: tuple[int, int] = (512, 512)
) -> None:
    """Write poses, whole or not at all.

    Args:
        path: `.npz` (xy, confidence, mask, version, and fps if given; bit-exact), `.json` (a list of frames as web
            pose editors read it), or a name without suffix (a folder of one JSON a frame, as OpenPose writes it).
        poses: F poses.
        fps: frames per second, kept for `load_fps`.
        size: (height, width) of the canvas whose pixels the JSON counts; the video's own keeps its aspect ratio.

    Raises:
        UserError: another suffix.
    """
    path = Path(path)
    if path.suffix == ".npz":
        extra = {} if fps is None else {"fps": np.float64(fps)}
        with atomic_path(path) as temporary:
            arrays = {"xy": poses.xy, "confidence": poses.confidence, "mask": poses.mask}
            np.savez_compressed(temporary, version=np.int64(NPZ_VERSION), **arrays, **extra)
        return
    documents = to_documents(poses, size=size, fps=fps)
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


def load_poses(path: str | Path, *, size: tuple[int, int] | None = None) -> PoseSequence:
    """Read poses from `.npz`, a JSON file of one frame or a list of frames, or a folder of JSON files.

    Files of a folder are taken in natural order ("2" before "10"). With several people the largest is followed
    (`src.pose.tracking`), which the log says.

    Args:
        path: file or folder.
        size: (height, width) of the picture, for pixel coordinates in JSON that does not state its canvas.

    Raises:
        UserError: missing, unreadable, of another format or shape, or without any person.
    """
    path = Path(path)
    if path.suffix == ".npz" and path.is_file():
        return _load_npz(path)
    return select_person(parse_frames(path, _documents(path), size=size), source=str(path))


def load_fps(path: str | Path) -> float | None:
    """Frames per second that `save_poses` was given, or None if the file does not say.

    Raises:
        UserError: missing or unreadable.
    """
    path = Path(path)
    if path.suffix == ".npz" and path.is_file():
        fps = _read_npz(path).get("fps")
    else:
        first = next(iter(_documents(path)), None)
        fps = first.get("fps") if isinstance(first, dict) else None
    return None if fps is None else float(fps)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as poses ({error}); {EXPECTED}") from None


def _load_npz(path: Path) -> PoseSequence:
    arrays = _read_npz(path)
    missing = [key for key in ("xy", "confidence", "mask", "version") if key not in arrays]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing; expected the arrays xy, confidence, mask and version")
    if arrays["version"] != NPZ_VERSION:
        raise UserError(f"{path}: version {arrays['version']} of the pose file, expected {NPZ_VERSION}")
    try:
        return PoseSequence(arrays["xy"], arrays["confidence"], arrays["mask"])
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _documents(path: Path) -> list[Any]:
    """Parsed JSON objects, one a frame."""
    if path.is_dir():
        files = sorted(path.glob("*.json"), key=lambda file: natural_key(file.name))
        if not files:
            raise UserError(f"{path}: no .json files in this folder; {EXPECTED}")
        documents = []
        for file in files:
            frames = _read_json(file)
            if len(frames) != 1:
                raise UserError(f"{file}: {len(frames)} frames; expected one in each file of a folder")
            documents += frames
        return documents
    if not path.exists():
        raise UserError(f"{path}: no such file; {EXPECTED}")
    if path.suffix != ".json":
        raise UserError(f"{path}: unknown kind of pose file; {EXPECTED}")
    return _read_json(path)


def _read_json(path: Path) -> list[Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    return document if isinstance(document, list) else [document]
