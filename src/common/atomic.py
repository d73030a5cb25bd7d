"""Files and folders that are whole or absent, whenever the program or the machine stops.

What is written goes under a temporary name beside its target, is flushed to the disk, and is then renamed; a folder
that is there already is exchanged with the new one in one step. The temporary names are ours alone and say which
process writes them, so that what a killed one left behind can be told and cleared:

    .posecrafter-<machine>-<process>-<its start>-<random>.tmp<suffix>     being written
    .posecrafter-<machine>-<process>-<its start>-<random>.old/<name>      moved aside, on file systems without exchange
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from src.common.errors import TEMPORARY_PREFIX, UserError, in_one_line
from src.common.stopping import deferred

LOCK = ".lock"  # of a folder that has one writer (`src.common.writers`)
_OURS = re.compile(re.escape(TEMPORARY_PREFIX) + r"([0-9a-f]{8})-([0-9]+)-([0-9]+)-[0-9a-f]{8}\.(tmp|old)(\..*)?")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# What file systems say that cannot exchange two names, or cannot flush a folder.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
# A writer on another machine is taken for dead where its file has not changed for so long.
_SILENT_SECONDS = 24 * 3600
_FLUSHED_AT_ONCE = 8


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends without an error.

    Works for files and for folders (the block may create either); the suffix is kept, since writers choose
    the format by it. An existing file or folder at `path` is replaced. On error nothing is left behind.

    Raises:
        ResourceError: the system refuses: disk full, read-only, no permission, no memory.
        UserError: at `path` is a file where a folder is written, a folder where a file is, or no file at all.
    """
    path = Path(path)
    with in_one_line(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_once(path.parent)
        temporary = path.with_name(_temporary_name("tmp") + path.suffix)
        try:
            yield temporary
            if temporary.is_file():
                os.chmod(temporary, _mode_of_files())  # some libraries write for the user alone
            _flush(temporary)
            _put(temporary, path)
            _flush_folder(path.parent)
        finally:
            # A stop that comes now waits until all of it is gone.
            with deferred():
                _remove(temporary)


def clear_leftovers(folder: str | Path, *, below: bool = True, sole_writer: bool = False) -> int:
    """Remove what killed writers have left in a folder, and put back what they had moved aside.

    Touches temporary names of this module only, and only those of writers that are gone: of this machine by their
    process, of another by a day of silence. Folders behind links are left alone, and so is what was moved aside with
    links in it: the folder may have come from anyone, and they are refused before it is cleared.

    Args:
        below: in all folders below it as well.
        sole_writer: the caller holds the lock that every writer of this folder needs, so that writers on other
            machines are gone, too.

    Returns:
        How many were cleared.
    """
    cleared = 0
    others: set[str] = set()
    for parent, folders, files in os.walk(folder):
        if LOCK in files and parent != str(folder):
            others.add(parent)
        for name in [*folders, *files]:
            match = _OURS.fullmatch(name)
            if match is None:
                continue
            if name in folders:
                folders.remove(name)
            leftover = Path(parent, name)
            if not _writer_is_gone(match, leftover, sole_writer=sole_writer and not _is_in(parent, others)):
                continue
            if match[4] == "old":
                if _holds_links(leftover):
                    continue
                _put_back(leftover)
            _remove(leftover)
            cleared += 1
        if not below:
            break
    return cleared


def _is_in(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


@functools.cache
def _clear_once(folder: Path) -> None:
    """What killed processes left in a folder goes when the next one first writes there."""
    clear_leftovers(folder, below=False)


@functools.cache
def _mode_of_files() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def _temporary_name(kind: str) -> str:
    process = os.getpid()
    return f"{TEMPORARY_PREFIX}{_machine()}-{process}-{_start_of(process) or 0}-{uuid.uuid4().hex[:8]}.{kind}"


def _put(new: Path, path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        os.rename(new, path)
        return
    if stat.S_ISLNK(mode):
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{path} is a device, pipe or socket, which is not replaced: choose another name")
    if stat.S_ISDIR(mode) != new.is_dir():
        there, wanted = ("folder", "file") if stat.S_ISDIR(mode) else ("file", "folder")
        raise UserError(f"{path} is a {there}, and a {wanted} is to be written there: choose another name")
    if not new.is_dir():
        os.replace(new, path)
    elif not _exchange(new, path):
        aside = path.with_name(_temporary_name("old"))
        aside.mkdir()
        # `clear_leftovers` puts it back after a kill between the two.
        os.rename(path, aside / path.name)
        os.rename(new, path)
        _remove(aside)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(b))


def _holds_links(path: Path) -> bool:
    """Whether it is a link, or there is one at any depth."""
    below = (Path(parent, name) for parent, folders, files in os.walk(path) for name in (*folders, *files))
    return path.is_symlink() or any(entry.is_symlink() for entry in below)


def _put_back(aside: Path) -> None:
    for old in aside.iterdir():
        target = aside.with_name(old.name)
        if not os.path.lexists(target):
            os.rename(old, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Bring a file, or a folder with all that is in it, to the disk."""
    if not path.is_dir():
        _fsync(path)
        return
    walked = list(os.walk(path))
    files = [Path(parent, name) for parent, _, names in walked for name in names]
    # Together: one after another, each would wait for the journal of the file system.
    with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as pool:
        list(pool.map(_fsync, files))
    for parent, _, _ in walked:
        _flush_folder(Path(parent))


def _flush_folder(folder: Path) -> None:
    try:
        _fsync(folder)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writer_is_gone(match: re.Match[str], leftover: Path, *, sole_writer: bool) -> bool:
    machine, process, start = match[1], int(match[2]), int(match[3])
    if machine != _machine():
        try:
            return sole_writer or time.time() - leftover.lstat().st_mtime > _SILENT_SECONDS
        except FileNotFoundError:
            return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    # A process of that number is there, but not the one that wrote: numbers are used again.
    now = _start_of(process)
    return bool(start and now is not None and now != start)


def _start_of(process: int) -> int | None:
    """When a process started, in ticks since the machine did; -1: it has ended; None: the system does not say."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return -1 if state in "ZX" else int(fields[18])
    except (OSError, IndexError, ValueError):
        return None


def _machine() -> str:
    """This machine, or the container: within it a process number means one process."""
    try:
        numbers = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbers = 0
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]
