"""Commands without disk, permission, memory or file numbers, and two of the same at once."""

import ctypes
import os
import random
import resource
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos import folders, processes
from tests.chaos.processes import Ended
from tests.chaos.report import Case
from tests.chaos.world import STAGES, World

_MEBIBYTE = 2**20
_NOBODY = 65534
_CAPABILITY_VERSION_3 = 0x20080522  # of linux/capability.h
# With which the C library's loader ends a process by itself where it has no memory: nothing of Python's can answer.
_LOADERS_END = "cannot allocate memory for thread-local data: ABORT"
KINDS = ("full disk", "read-only", "no permission", "file size", "file numbers", "memory", "together")


def cases(world: World, stages: list[str], seed: int, number: int, workers: int) -> Iterator[str]:
    """Every stage in every kind of need, shared out between the processes.

    Afterwards, with what had been missing, the same command must end and leave what an undisturbed one leaves.

    Yields:
        A `Case` as a line for each.
    """
    wanted = [(stage, kind) for stage in stages for kind in KINDS]
    for index, (stage, kind) in list(enumerate(wanted))[number::workers]:
        chance = random.Random(f"starved {seed} {index}")
        folder = world.root / f"starved-{number}" / f"{index}-{stage}"
        folder.parent.mkdir(exist_ok=True)
        yield _case(world, stage, kind, folder, chance).line()


def _case(world: World, stage: str, kind: str, folder: Path, chance: random.Random) -> Case:
    if kind in ("full disk", "read-only"):
        return _mounted(world, stage, kind, folder, chance)
    folders.copy(world.before(stage), folder)
    if kind == "no permission":
        _give_to(folder, _NOBODY)
    if kind == "together":
        ended, said = _together(stage, folder), "two at once"
    else:
        before, said = _limit(kind, chance)
        ended = [processes.run(STAGES[stage].command, folder, before=before, seconds=600)]
    _give_to(folder, os.getuid())
    return _judged(world, stage, f"{kind} ({said})", folder, ended)


def _mounted(world: World, stage: str, kind: str, folder: Path, chance: random.Random) -> Case:
    """On a small file system of its own, which is full or read-only."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        folders.remove(folder)
        return Case("starved", f"{stage}: {kind}: mounting is not permitted here", {"skipped": 1})
    try:
        subprocess.run(["cp", "-a", f"{world.before(stage)}/.", str(folder)], check=True)
        if kind == "full disk":
            left = chance.choice([0, 1, 4, 20, 100, 400, 1000]) * 1024
            _fill(folder / ".filler", folder, left)
            said = f"{left} bytes left"
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            said = "remounted"
        ended = [processes.run(STAGES[stage].command, folder, seconds=600)]
        if kind == "read-only":
            subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        (folder / ".filler").unlink(missing_ok=True)
        return _judged(world, stage, f"{kind} ({said})", folder, ended)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _fill(path: Path, folder: Path, left: int) -> None:
    there = os.statvfs(folder)
    size = there.f_bavail * there.f_frsize - left
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def _limit(kind: str, chance: random.Random) -> tuple[Callable[[], None], str]:
    """What brings a process into need, and what to call it."""
    if kind == "no permission":
        return _give_up_capabilities, "another user's folder"
    if kind == "file size":
        size = chance.choice([4_000, 8_000, 20_000, 60_000, 200_000])
        return lambda: _set(resource.RLIMIT_FSIZE, size), f"{size} bytes"
    if kind == "file numbers":
        more = chance.choice([0, 1, 2, 4, 8])
        return lambda: _set(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")) + more), f"{more} more"
    more = chance.choice([0, 2, 8, 32, 128]) * _MEBIBYTE
    return lambda: _set(resource.RLIMIT_AS, _address_space() + more), f"{more // _MEBIBYTE} MiB more"


def _give_to(folder: Path, owner: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, -1, follow_symlinks=False)


def _give_up_capabilities() -> None:
    """Make root a user like any other, who may not write into somebody else's folder."""
    header = struct.pack("<II", _CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")


def _set(limit: int, value: int) -> None:
    resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def _address_space() -> int:
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def _together(stage: str, folder: Path) -> list[Ended]:
    started = time.monotonic()
    logs = ("one", "two")
    pids = [processes.start(STAGES[stage].command, folder, seconds=600, log=log) for log in logs]
    return [processes.wait(pid, folder, started, log=log) for pid, log in zip(pids, logs, strict=True)]


def _judged(world: World, stage: str, kind: str, folder: Path, ended: list[Ended]) -> Case:
    findings = []
    for one in ended:
        lines = [line for line in one.stderr.splitlines() if line.startswith("error: ")]
        if one.hung or one.traceback:
            findings.append(f"{'hung' if one.hung else 'a traceback'}: {one.stderr[-1800:]}")
        elif _LOADERS_END in one.stderr and one.status == 127:
            continue
        elif one.status not in (0, 2) or (one.status == 2 and len(lines) != 1):
            findings.append(f"status {one.status}: {one.stderr[-600:]!r}")
    again = processes.run(STAGES[stage].command, folder, seconds=600, log="again")
    if again.status:
        findings.append(f"does not go on, status {again.status}: {again.stderr[-1500:]}")
    elif differing := _differing(world, stage, folder, ended):
        findings.append(f"leaves something else: {', '.join(differing[:8])}")
    if left := folders.leftovers(folder):
        findings.append(f"leftovers: {left[:4]}")
    statuses = [one.status for one in ended]
    said = ended[0].stderr.strip().splitlines()[-1:] if not findings else []
    if not findings and "mount" not in kind and not os.path.ismount(folder):
        folders.remove(folder)
    counts = {kind.split(" (")[0]: 1, "refused": sum(status == 2 for status in statuses)}
    return Case("starved", f"{stage}: {kind}: {statuses} {said}", counts, tuple(findings))


def _differing(world: World, stage: str, folder: Path, ended: list[Ended]) -> list[str]:
    """What is not as an undisturbed command leaves it."""
    paths = folders.difference(world.expected[stage], folders.content(folder))
    if not any("is not kept for other runs" in one.stdout + one.stderr for one in ended):
        return paths
    # It is then missing there, as the log says, and the next job of a sweep has learnt by itself, with a log of that.
    return [path for path in paths if not {"cache", "csv"} & set(Path(path).parts)]
