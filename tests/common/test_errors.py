"""What the system refuses is told from defects, whatever a library has made of it."""

import errno
import os

import pytest

from src.common.errors import UserError, explained


def raised(error: BaseException, *, within: BaseException | None = None) -> BaseException:
    """An exception as it comes out of a handler of another one."""
    try:
        if within is None:
            raise error
        try:
            raise within
        finally:
            raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "text",
    [
        "could not create a primitive",  # oneDNN
        "x.so: failed to map segment from shared object",  # the loader of libraries, as an ImportError
        "[enforce fail at alloc_cpu.cpp:120] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_no_memory_under_other_names(text: str) -> None:
    for error in (RuntimeError(text), ImportError(text)):
        told = explained(error)
        assert told is not None and told.errno == errno.ENOMEM and "no memory is left" in str(told)


def test_a_file_that_could_not_be_closed_says_why() -> None:
    """PyTorch's writer of zip files, leaving after a failed write, raises an error of its own."""
    closing = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
    assert explained(closing) is None
    told = explained(raised(closing, within=OSError(errno.EFBIG, os.strerror(errno.EFBIG))), "last.ckpt", "written")
    assert told is not None and told.errno == errno.EFBIG and str(told).startswith("last.ckpt cannot be written: ")


def test_what_was_dealt_with_before_is_no_reason() -> None:
    """A defect in a handler stays one."""
    assert explained(raised(KeyError("x"), within=FileNotFoundError(errno.ENOENT, "no such file"))) is None
    assert explained(raised(UserError("x"), within=MemoryError())) is None
