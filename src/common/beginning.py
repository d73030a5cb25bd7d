"""What holds from a command's first moment, before anything large is imported."""

import io
import os
import stat
import sys
from typing import Any

from src.common.stopping import stop_in_one_line


def begin() -> None:
    """Let Ctrl-C end the program in one line, any text be printed, and threads that wait for each other sleep."""
    _open_what_is_closed()
    stop_in_one_line()
    _print_anything()
    _outlast_readers()
    _sleep_soon()


def _open_what_is_closed() -> None:
    """Have what a shell closed (`2>&-`) lead nowhere.

    Python has no stream there, and a file of ours would get its number, in which what libraries print would end up.
    Standard error takes any text, as Python's own does.
    """
    for name, mode, errors in (("stdin", "r", None), ("stdout", "w", None), ("stderr", "w", "backslashreplace")):
        if getattr(sys, name) is None:
            # It gets the lowest free number, which is the one; programs that we start have it, too.
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, errors=errors))


def _print_anything() -> None:
    """Have standard output write what its encoding lacks as an escape, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class _Outlet(io.FileIO):
    """A pipe that leads nowhere once its reader has gone."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


def _outlast_readers() -> None:
    """Have a command whose reader has seen enough (`| head -1`) do what it was asked to all the same.

    Python would raise in whatever prints next, and at its end once more: hours of work would end in a traceback.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and _is_pipe(stream):
            outlet = _Outlet(stream.fileno(), "w", closefd=False)
            # What is written through would wait in a buffer all the same (`python -u`).
            under = outlet if stream.write_through else io.BufferedWriter(outlet)
            kept = stream.encoding, stream.errors, None, stream.line_buffering, stream.write_through
            setattr(sys, name, io.TextIOWrapper(under, *kept))


def _is_pipe(stream: io.TextIOWrapper) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:  # somebody's own, in memory
        return False


def _sleep_soon() -> None:
    """Have the threads of GNU's OpenMP, which PyTorch brings, sleep after 20,000 turns of waiting; not 300,000.

    It reads this when PyTorch is imported. Where programs shared two cores, each on both, a fine-tune of 22 CPU
    seconds was not done after 105: its threads waited at full speed for those that had no core. With 1,000 turns it was
    done soonest, but a program that has the cores to itself took a sixth longer (`experiments/SPEED.md`).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
