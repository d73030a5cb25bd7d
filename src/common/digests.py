"""Checksums: of files, of JSON values, of arrays; one way for each."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from src.common.reading import open_regular


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(paths: Iterable[Path]) -> list[Any]:
    """Names, sizes and times of files: what tells that none was exchanged since, without reading them."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content.

    Raises:
        ResourceError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arrays_sha256(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays: shapes, types and values."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def frames_sha256(frames: Iterable[np.ndarray]) -> str:
    """SHA-256 of pictures, one after the other: they need not be in memory together."""
    return digest([arrays_sha256(frame) for frame in frames])
