"""The one exception that reaches a user as a single line instead of a traceback, and what the system refuses as one."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

MAX_LINE = 2000
TEMPORARY_PREFIX = ".posecrafter-"
# Of libraries written in Rust, whose exceptions carry the number in their text alone.
_OS_ERROR_IN_TEXT = re.compile(r"\(os error ([0-9]+)\)")
# Of PyTorch with oneDNN, of OpenCV and of the loader of libraries, whose exceptions for it are no MemoryError.
_NO_MEMORY_IN_TEXT = re.compile(
    r"(can't|cannot) allocate memory|out of memory|alloc_failed|insufficient memory|can't start new thread|"
    r"std::bad_alloc|could not create a primitive|failed to map segment from shared object",
    re.IGNORECASE,
)
_CAUSES = {
    errno.ENOSPC: "no space is left on the disk: free some, or choose a place on another disk",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose a place on another disk",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "permission denied: change its permissions, or choose another place",
    errno.EPERM: "the system does not permit it: change its owner or permissions, or choose another place",
    errno.ENOMEM: "no memory is left: end other programs, or choose fewer frames or a smaller resolution",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: end other programs",
    errno.EFBIG: "it is larger than the file system or `ulimit -f` allows: choose another place",
    errno.ENAMETOOLONG: "the name is too long for the file system: choose a shorter one",
    errno.ENOENT: "there is no such file or folder: check the path",
    errno.EEXIST: "a file is there, where a folder is to be: choose another name",
    errno.ENOTDIR: "a part of the path is a file, not a folder: check the path",
    errno.EISDIR: "it is a folder where a file was expected: check the path",
    errno.ELOOP: "there is a link where none is followed, or links in a circle: remove it",
    errno.EIO: "the disk reports an input/output error: check the disk",
    errno.ESTALE: "the network file system has lost it: mount it again",
}
# Of loaders and writers that keep the system's word and lose its number.
_IN_TEXT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.EIO)


def in_a_line(message: str) -> str:
    """A message as one printable line of at most about `MAX_LINE` characters."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE // 2]} ... {line[-MAX_LINE // 2 :]}"


class UserError(ValueError):
    """Bad input: the message says what was wrong, what was expected and how to mend it.

    Entry points print it on one line and exit with status 2 (see `src.app.entry`). Anything else that is raised
    is a defect of ours and keeps its traceback. Parts of messages come from files: what a terminal would obey is
    written as an escape, and a line longer than `MAX_LINE` loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(in_a_line(message))


class DamagedFile(UserError):
    """A file was read, and what it holds is not what belongs there; a cache may make it again."""


class ResourceError(UserError):
    """The system refused: no space, no permission, no memory, not there. Says nothing about what a file holds.

    Attributes:
        errno: the system's number of the cause, of the module `errno`.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.errno = number

    def __reduce__(self) -> tuple[type["ResourceError"], tuple[str, int]]:
        # From a launcher's worker to the process that started it.
        return type(self), (str(self), self.errno)


def explained(error: BaseException, path: str | Path | None = None, doing: str = "used") -> ResourceError | None:
    """What the system refused, in one line with path and cause; None where the error is another one.

    Args:
        error: an OSError, a MemoryError, or what a library has made of one.
        path: the file or folder at work; an error that names another one is about that.
        doing: what could not be done with it: "read", "written".
    """
    number = _number(error)
    if number is None:
        return None
    cause = _CAUSES.get(number) or getattr(error, "strerror", None) or str(error) or os.strerror(number)
    named = getattr(error, "filename", None)
    named = os.fsdecode(named) if isinstance(named, (str, bytes)) and named else None
    # A temporary name would tell nobody anything.
    if path is None or (named and TEMPORARY_PREFIX not in named and named != str(path)):
        path, doing = named or path, doing if path is None else "used"
    if number == errno.ENOMEM and path is None:
        return ResourceError(cause, number)
    return ResourceError(f"{'a file' if path is None else path} cannot be {doing}: {cause}", number)


@contextlib.contextmanager
def in_one_line(path: str | Path, doing: str) -> Iterator[None]:
    """Raise what the system refuses within the block as a `ResourceError` about `path`.

    Args:
        doing: see `explained`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (known := explained(error, path, doing)) is None:
            raise
        raise known from error


def _number(error: BaseException) -> int | None:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return errno.ENOMEM
    if isinstance(error, OSError):
        # None for what libraries derive from OSError for causes of their own.
        return error.errno
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    if match := _OS_ERROR_IN_TEXT.search(str(error)):
        return int(match[1])
    if _NO_MEMORY_IN_TEXT.search(str(error)):
        return errno.ENOMEM
    if (found := next((number for number in _IN_TEXT if os.strerror(number) in str(error)), None)) is not None:
        return found
    if error.__cause__ is not None:
        return _number(error.__cause__)
    # Closing a file that could not be written fails in a way of its own. What else came before was dealt with.
    before = None if error.__context__ is None else _number(error.__context__)
    return before if before in (*_IN_TEXT, errno.ENOMEM) else None
