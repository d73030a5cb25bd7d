"""What a folder holds, without what two equal runs differ in: times, memory, places, the repository's state."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from src.common.errors import TEMPORARY_PREFIX

_VOLATILE = frozenset({"seconds", "seconds_per_step", "seconds_per_frame", "peak_memory_gib", "overrides", "git"})
# Locks stay; the others are by Lightning and Hydra, name places, and begin anew where a fine-tune goes on.
_MINUTE = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC")
_NOT_COMPARED = (".lock", "metrics.csv", "multirun.yaml")


def copy(template: Path, target: Path) -> None:
    """A folder of its own for one case."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(template, target, symlinks=True)


def remove(folder: Path) -> None:
    """Take away a folder with the logs beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    for log in folder.parent.glob(f"{folder.name}.*"):
        log.unlink()


def content(folder: Path) -> dict[str, str]:
    """By relative path, a digest of every file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _NOT_COMPARED:
            found[str(path.relative_to(folder))] = _digest(path, folder)
    return found


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that nobody needs any more."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def difference(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Paths that only one of two folders holds, or that differ."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def _digest(path: Path, folder: Path) -> str:
    data = path.read_bytes()
    if path.suffix in (".json", ".html"):
        # Results name their files by absolute paths, and a page says when it was made.
        data = _MINUTE.sub(b"", data.replace(str(folder.resolve()).encode(), b""))
    if path.suffix == ".json":
        try:
            data = json.dumps(_settled(json.loads(data)), sort_keys=True).encode()
        except ValueError:
            return "damaged"
    return hashlib.sha256(data).hexdigest()


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _settled(entry) for key, entry in value.items() if key not in _VOLATILE}
    return [_settled(entry) for entry in value] if isinstance(value, list) else value
