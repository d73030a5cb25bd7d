"""Whole commands in forked processes, which cost no second import and can be killed, stopped, starved and timed."""

import contextlib
import faulthandler
import gc
import importlib
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose, initialize_config_dir

from src.common.paths import CONF_DIR

MODULES = {
    **{"prepare": "src.prepare", "train": "src.train", "sample": "src.sample", "repair": "src.repair"},
    **{"gallery": "src.gallery", "poses": "src.poses", "pretrain": "src.pretrain", "run": "eval.run"},
    **{"score": "eval.score", "report": "eval.report"},
}
# What commands import when they need it; imported before the first fork, or each process would pay for it.
_LATE = (
    *("src.runs.make_run", "src.runs.film", "src.runs.run_folder", "src.showcase.gallery", "src.inpainting.repair"),
    *("src.showcase.look", "matplotlib.figure", "torchmetrics", "lightning.pytorch.loggers", "tensorboard"),
)
HANG_SECONDS = 60
# Of what a process does with files: what stands before and behind these is what a kill can leave.
_EVENTS = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        name: a key of `MODULES`.
        arguments: as the shell passes them on.
    """

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Interrupt:
    """A signal at a moment.

    Attributes:
        signum: the signal.
        event: before which of the process's file events, counted from 1; None: not by events.
        seconds: after which time; None: not by time.
    """

    signum: int
    event: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status; minus the signal's number where one killed it.
        stdout, stderr: what it wrote.
        seconds: how long it took.
        events: file events that it had; 0 where it was killed.
    """

    status: int
    stdout: str
    stderr: str
    seconds: float
    events: int = field(default=0)

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.stderr

    @property
    def hung(self) -> bool:
        return self.status == -signal.SIGALRM


def warm_up() -> None:
    """Import all that the commands need, with one thread."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for module in (*MODULES.values(), *_LATE):
        importlib.import_module(module)
    # Hydra's plugins and its grammar, which each process would look for and build anew.
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        compose("train", overrides=["subject=x", "model=tiny", "trainer.max_steps=1", "preview={num_steps: 1}"])
    gc.collect()
    gc.freeze()


def run(
    command: Command,
    folder: Path,
    *,
    interrupt: Interrupt | None = None,
    before: Callable[[], None] | None = None,
    seconds: int = HANG_SECONDS,
    log: str = "log",
) -> Ended:
    """Run a command in a process of its own and wait for its end.

    Args:
        folder: its working directory; its output lies beside it.
        interrupt: what stops it.
        before: called in the process before the command: limits.
        seconds: a process that takes longer is killed by SIGALRM.
    """
    started = time.monotonic()
    process = start(command, folder, interrupt=interrupt, before=before, seconds=seconds, log=log)
    if interrupt is not None and interrupt.seconds is not None:
        time.sleep(interrupt.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, interrupt.signum)
    return wait(process, folder, started, log=log)


def start(
    command: Command,
    folder: Path,
    *,
    interrupt: Interrupt | None = None,
    before: Callable[[], None] | None = None,
    seconds: int = HANG_SECONDS,
    log: str = "log",
) -> int:
    """Start what `run` runs, and return its process's number."""
    process = os.fork()
    if process == 0:
        try:
            _become(command, folder, interrupt, before, seconds, log)
        finally:
            os._exit(99)
    return process


def wait(process: int, folder: Path, started: float, *, log: str = "log") -> Ended:
    """Wait for the end of what `start` started."""
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    read = {name: _log(folder, log, name).read_text(errors="replace") for name in ("out", "err", "events")}
    return Ended(status, read["out"], read["err"], time.monotonic() - started, int(read["events"] or 0))


def in_processes(work: Callable[[int], Iterator[str]], count: int) -> tuple[list[str], int]:
    """Do work in `count` processes at once; the lines that they yield, and how many did not come to their end.

    Args:
        work: gets the process's number, 0 to count - 1.
    """
    pipes = []
    for number in range(count):
        reader, writer = os.pipe()
        if os.fork() == 0:
            status = 1
            try:
                os.close(reader)
                with os.fdopen(writer, "w") as file:
                    for line in work(number):
                        file.write(line + "\n")
                        file.flush()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)
        pipes.append(os.fdopen(reader))
    lines = [line.rstrip("\n") for pipe in pipes for line in pipe]
    return lines, sum(os.wait()[1] != 0 for _ in range(count))


def isolated(work: Callable[[], object]) -> None:
    """Do work in a process of its own, so that the libraries' threads that it starts are gone before the next fork."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("the campaign's own preparation has failed")


def random_interrupt(random: random.Random, undisturbed: Ended, signals: Sequence[int]) -> Interrupt:
    """At a random moment of a command that takes as long as `undisturbed` did, or at one of its file events."""
    signum = random.choice(signals)
    if random.random() < 0.6:
        return Interrupt(signum, event=random.randint(1, max(undisturbed.events, 1)))
    return Interrupt(signum, seconds=random.uniform(0, undisturbed.seconds))


def _log(folder: Path, log: str, name: str) -> Path:
    return folder.with_name(f"{folder.name}.{log}.{name}")


def _become(
    command: Command,
    folder: Path,
    interrupt: Interrupt | None,
    before: Callable[[], None] | None,
    seconds: int,
    log: str,
) -> None:
    """Be the command, in a process that was just forked; does not return."""
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        opened = os.open(_log(folder, log, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    events_file = os.open(_log(folder, log, "events"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    main = getattr(importlib.import_module(MODULES[command.name]), "main")  # noqa: B009 (a module's main)
    sys.argv[:] = [command.name, *command.arguments]
    # A killed process loses nothing that it wrote: only a machine that stops does.
    os.fsync = lambda descriptor: None
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(seconds - min(seconds / 2, 3))
    events = _counted(interrupt)
    status = 0
    try:
        if before is not None:
            before()
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os.write(events_file, str(events[0]).encode())
    os._exit(status)


def _counted(interrupt: Interrupt | None) -> list[int]:
    """Count this process's file events, and send the interrupt's signal when its own has come."""
    count, own = [0], os.getpid()

    def hook(event: str, arguments: tuple) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if (event in _EVENTS or writing) and os.getpid() == own:
            count[0] += 1
            if interrupt is not None and interrupt.event == count[0]:
                os.kill(own, interrupt.signum)

    sys.addaudithook(hook)
    return count
