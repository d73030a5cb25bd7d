"""What the system refuses is told from defects, whatever a library has made of it."""

import builtins
import errno
import importlib
import inspect
import os
import pickle
import re
import signal

import pytest

from src.common.errors import UserError, explained
from src.common.paths import PACKAGE_ROOT

# By the name of an argument, what an error is made with.
ARGUMENTS = {"message": "what was wrong: how to mend it", "number": errno.ENOSPC, "signum": signal.SIGTERM}


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
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
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


def our_errors() -> list[type[BaseException]]:
    """Every class of `src/` and `eval/` that is an exception, found by the names of its bases."""
    bases, module = {}, {}
    for path in (file for room in ("src", "eval") for file in (PACKAGE_ROOT / room).rglob("*.py")):
        for name, parents in re.findall(r"^class (\w+)\(([^)]*)\)", path.read_text(encoding="utf-8"), re.MULTILINE):
            bases[name] = {parent.strip().rpartition(".")[2] for parent in parents.split(",")}
            module[name] = ".".join(path.relative_to(PACKAGE_ROOT).with_suffix("").parts)
    known = {n for n, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)}
    while more := {name for name in bases if bases[name] & known} - known:
        known |= more
    return [getattr(importlib.import_module(module[name]), name) for name in sorted(known & module.keys())]


def test_every_error_of_ours_comes_back_from_another_process() -> None:
    """A launcher's worker pickles what ends its job; what cannot be read back would end the whole sweep."""
    errors = our_errors()
    assert len(errors) > 6
    for cls in errors:
        names = [name for name in inspect.signature(cls.__init__).parameters if name in ARGUMENTS]
        error = cls(*(ARGUMENTS[name] for name in names or ("message",)))
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is cls and str(again) == str(error) and vars(again) == vars(error), cls
