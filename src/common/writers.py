"""Who may write into a folder: one process at a time, and only where nothing of somebody else's is replaced."""

import contextlib
import itertools
import logging
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.common.atomic import LOCK, clear_leftovers
from src.common.errors import TEMPORARY_PREFIX, UserError, in_one_line

log = logging.getLogger(__name__)
# W&B writes each run into a folder of its own, never into one of before, and leaves a link there to a log in ~/.cache.
# WANDB_RUN_ID may be anything that is a name.
_WANDB, _WANDB_RUN = "wandb", re.compile(r"(offline-)?run-[0-9]{8}_[0-9]{6}-.+")


@contextlib.contextmanager
def only_writer(folder: str | Path, *, writes: Collection[str] = (), wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder while this one writes there, and clear what killed ones left.

    A lock on a file does it, which the system lets go of when the process ends, killed or not. The file stays, and
    says afterwards that what lies there is ours.

    Args:
        folder: made where it is not there.
        writes: names of what is written into it and replaced.
        wait: for another process to end, instead of refusing.

    Raises:
        UserError: another process is at work there, or there are files of those names that we did not write.
        ResourceError: the folder or its lock cannot be made.
    """
    folder = Path(folder)
    _refuse_what_is_not_ours(folder, writes)
    lock = FileLock(folder / LOCK)
    with in_one_line(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _acquire_at_once(lock, folder)
        except UserError:
            if not wait:
                raise
            log.info("another process is writing into %s: waiting for it", folder)
            lock.acquire()
        except NotImplementedError:
            log.warning("the file system of %s has no locks: let no second process write there", folder)
    try:
        clear_leftovers(folder, sole_writer=True)
        yield
    finally:
        lock.release()


def check_place(folder: str | Path, *, writes: Collection[str] = ()) -> None:
    """Raise what `only_writer` would, before there is anything to write; nothing is made or left.

    Args:
        writes: as of `only_writer`.

    Raises:
        UserError, ResourceError: as of `only_writer`, which has the last word.
    """
    folder = Path(folder)
    _refuse_what_is_not_ours(folder, writes)
    with in_one_line(folder, "written"):
        _try_to_write(folder)
        if (folder / LOCK).exists():
            lock = FileLock(folder / LOCK)
            # A file system without locks is told of by `only_writer`.
            with contextlib.suppress(NotImplementedError):
                _acquire_at_once(lock, folder)
            lock.release()


def check_file(path: str | Path) -> None:
    """Raise what would keep a file from being written, before there is anything to write; nothing is made or left.

    Raises:
        UserError: a folder is there.
        ResourceError: nothing can be written where it goes.
    """
    path = Path(path)
    with in_one_line(path, "written"):
        if path.is_dir():
            raise UserError(f"{path} is a folder, and a file is to be written there: choose another name")
        _try_to_write(path.parent)


def _try_to_write(folder: Path) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    tempfile.TemporaryFile(dir=there, prefix=TEMPORARY_PREFIX).close()


def _acquire_at_once(lock: FileLock, folder: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"another process is writing into {folder}: wait until it has finished, or choose another folder"
        ) from None


def _refuse_what_is_not_ours(folder: Path, writes: Collection[str]) -> None:
    with in_one_line(folder, "read"):
        if not folder.is_dir() or (folder / LOCK).exists():
            return
        theirs = sorted(name for name in writes if (folder / name).exists())
    if theirs:
        raise UserError(
            f"{folder} holds {', '.join(theirs[:3])}, which was not written here before and would be replaced: choose "
            "another folder for the results, or move it away"
        )


def free_folder(within: Path, name: Path, holds: Callable[[Path], Any], wanted: Any) -> Path:
    """The folder `name`, with a number behind it where something else is there; that of what is wanted, if any.

    Args:
        within: the folder that holds it.
        holds: what a folder holds, to be compared with `wanted`; None: nothing that would be lost.

    Raises:
        UserError: a link on the way there, or one in it that leads out of `within`.
    """
    first = within / name
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        refuse_links(within, [folder.relative_to(within)])
        if holds(folder) in (None, wanted):
            break
    if folder != first:
        log.info("%s holds what was made of something else: this goes to %s", first, folder)
    return folder


def refuse_links(folder: str | Path, names: Iterable[str | Path], *, instead: str = "choose another folder") -> None:
    """Refuse links by which what is written into a folder would end up outside it: it may have come from anyone.

    Args:
        names: relative paths of what is written. Links on the way to them are refused, and below them those that lead
            out of the folder: some libraries keep links of their own. Runs of W&B, which are written once, are passed.
        instead: what the user can do but remove the link.

    Raises:
        UserError: names the link.
    """
    folder = Path(folder)
    for name in map(Path, names):
        way = [folder.joinpath(*name.parts[: end + 1]) for end in range(len(name.parts))]
        below = _entries_below(way[-1])
        with in_one_line(folder / name, "read"):
            link = next((path for path in way if path.is_symlink()), None) or next(
                (path for path in below if path.is_symlink() and not _is_within(path, folder)), None
            )
        if link is not None:
            raise UserError(f"{link} is a link, which is not followed: remove it, or {instead}")


def _entries_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, entry) for entry in (*folders, *files))
        if Path(parent).name == _WANDB:
            folders[:] = [name for name in folders if _WANDB_RUN.fullmatch(name) is None]


def _is_within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
