"""Stopping on request: SIGINT and SIGTERM end a program by one exception, at a moment when nothing is lost.

Schedulers send SIGTERM before they kill; Ctrl-C is SIGINT. Python's own answers, KeyboardInterrupt and a silent end,
would leave no time for a last checkpoint and no word of what is kept.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """The program was asked to stop.

    Attributes:
        signum: of the signal; programs end with status 128 + signum.
        told: what is kept, and how it is gone on with.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.told = "what was finished is kept; the same command goes on from there"

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int], dict[str, str]]:
        # From a launcher's worker to the process that started it.
        return Stopped, (self.signum,), {"told": self.told}


_deferring = 0
_pending: int | None = None


def stop_in_one_line() -> None:
    """From now on, where nothing else is said, Ctrl-C ends the program at once, in one line and with status 130.

    For a command's first seconds, in which it is imported and there is nothing to keep; SIGTERM ends it then by the
    system's own way, which shells show as 143.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    os.write(2, f"stopped by {signal.Signals(signum).name}: nothing had begun\n".encode())
    os._exit(128 + signum)


@contextlib.contextmanager
def raising_stops() -> Iterator[None]:
    """Within the block, in the main thread, SIGINT and SIGTERM raise `Stopped`."""
    global _pending
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _pending = None
    before = {number: signal.signal(number, _on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def going_on_with(setting: str | None) -> Iterator[None]:
    """Say of a stop within the block that the same command goes on with a setting more; None: nothing is said."""
    with _telling(setting and f"what was finished is kept; the same command with {setting} goes on from there"):
        yield


@contextlib.contextmanager
def keeping_nothing(unless: str | None) -> Iterator[None]:
    """Say of a stop within the block that nothing is kept but with a setting more; None: nothing is said."""
    with _telling(unless and f"nothing is kept; with {unless} the same command would keep what it finishes"):
        yield


@contextlib.contextmanager
def _telling(what: str | None) -> Iterator[None]:
    try:
        yield
    except Stopped as stop:
        stop.told = what or stop.told
        raise


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within the block a first request waits for `raise_if_asked` or the end of the block; a second one does not."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
    if not _deferring:
        raise_if_asked()


def asked() -> int | None:
    """The signal of a request that waits, if one does."""
    return _pending


def raise_if_asked() -> None:
    """Raise `Stopped` where a request waits."""
    global _pending
    if _pending is not None:
        signum, _pending = _pending, None
        raise Stopped(signum)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    global _pending
    if _deferring and _pending is None:
        _pending = signum
    else:
        raise Stopped(signum)
