"""`python -m tests.chaos.long_video frames=250,2000`: does a long video take the memory of a short one?

The toy model films the poses of a driver's video of so many frames, through the real command line, in windows. The
longest is filmed once more, killed in the middle, then stopped, then left to end: to the same bits. Options: `frames`,
`window`, `folder` (kept where it is given), `more`: by how many MiB the longest may pass the shortest.

Exit status 1 where memory grows, a stop is not answered as it should be, or bits differ.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.chaos.report import ENVIRONMENT

DEFAULTS = {"frames": "250,2000", "window": "50", "folder": "", "more": "24"}
SIZE = (64, 96)
COMPARED = ("frames", "generated.mp4", "comparison.mp4", "contact_sheet.png", "poses.npz", "reference.json")
_ROOT = Path(__file__).parents[2]
_RUN = ("subject=people_001", "model=tiny", "trainer=cpu", "trainer.max_steps=1", "data.num_frames=3")
_RUN += ("data.num_test_frames=1", "data.resolution=64", "sampling.num_steps=1", "sample_after_train=false")


def main() -> None:
    """Command line."""
    os.environ |= ENVIRONMENT
    chosen = DEFAULTS | dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    folder = Path(chosen["folder"] or tempfile.mkdtemp(prefix="long-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _watched(folder, "src.train", *_RUN, "run_dir=run")
    counts = sorted(int(count) for count in chosen["frames"].split(","))
    found = {}
    for count in counts:
        make_driver(folder, count)
        found[count] = _filmed(folder, count, chosen["window"], "whole")
        _say(f"{count} frames: {json.dumps(found[count])}")
    few, many = found[counts[0]], found[counts[-1]]
    faults = [f"status {one['status']}: {one['stderr']}" for one in found.values() if one["status"]]
    if many["anonymous_mib"] - few["anonymous_mib"] > float(chosen["more"]):
        faults.append(
            f"memory grows: {few['anonymous_mib']} MiB of {counts[0]} frames, {many['anonymous_mib']} of more"
        )
    faults += _interrupted(folder, counts[-1], chosen["window"])
    for fault in faults:
        _say(f"FOUND {fault}")
    if faults:
        raise SystemExit(1)
    if not chosen["folder"]:
        shutil.rmtree(folder)


def make_driver(folder: Path, count: int) -> None:
    """`driver-<count>.mp4` of a rendered person who moves to and fro, and the poses beside it."""
    from src.media.video import write_video
    from src.people.identity import sample_identity
    from src.people.render import render_clip
    from src.pose.formats import save_poses

    frames, poses = render_clip(sample_identity(3), "talk", 30, SIZE[0], 3)
    order = [i % 60 if i % 60 < 30 else 59 - i % 60 for i in range(count)]
    wide = frames[:, :, [*range(SIZE[0]), *range(SIZE[1] - SIZE[0])]]
    write_video(folder / f"driver-{count}.mp4", (wide[i] for i in order), 10)
    save_poses(folder / f"driver-{count}.npz", poses[order], fps=10)


def _filmed(folder: Path, count: int, window: str, output: str, **stop: Any) -> dict[str, Any]:
    poses = (f"poses=driver-{count}.mp4", "pose=file", f"pose.path=driver-{count}.npz", "retarget=none")
    sampling = (f"sampling.window_frames={window}", "trainer.accelerator=cpu")
    place = folder / f"{output}-{count}"
    return _watched(folder, "src.sample", "run=run", *poses, *sampling, f"output={place}", **stop)


def _interrupted(folder: Path, count: int, window: str) -> list[str]:
    """A kill after a third of the windows, a stop after two thirds, and the rest."""
    from src.runs.generated import tree_sha256

    windows, faults = -(-count // int(window)), []
    record = folder / f"cut-{count}/unfinished/windows.json"
    for signum, share, expected in ((signal.SIGKILL, 1 / 3, -signal.SIGKILL), (signal.SIGTERM, 2 / 3, 143)):
        ended = _filmed(folder, count, window, "cut", signum=signum, record=record, after=round(share * windows))
        _say(f"{signum.name}: {json.dumps(ended)}")
        lines = ended["stderr"].splitlines()
        if ended["status"] != expected or (expected == 143 and not (len(lines) == 1 and "SIGTERM" in lines[0])):
            faults.append(f"{signum.name}: status {ended['status']}: {ended['stderr']}")
    ended = _filmed(folder, count, window, "cut")
    _say(f"went on: {json.dumps(ended)}")
    pairs = [[tree_sha256(folder / f"{name}-{count}" / part) for name in ("whole", "cut")] for part in COMPARED]
    faults += [f"{part} differs" for part, (one, other) in zip(COMPARED, pairs, strict=True) if one != other or not one]
    return faults + (["unfinished/ is left over"] if record.parent.exists() else [])


def _watched(
    folder: Path, module: str, *arguments: str, signum: int | None = None, record: Path | None = None, after: int = 0
) -> dict[str, Any]:
    """Run a command and look at its memory every 20 ms; signal it once the record names `after` windows.

    Returns:
        status, seconds, the highest anonymous memory and the highest resident memory, which pages of files are in as
        long as nobody needs their place.
    """
    started, highest = time.monotonic(), {"RssAnon": 0, "VmHWM": 0}
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    with open(folder / "stderr", "w+") as errors, open(folder / "stdout", "w") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=errors)
        while process.poll() is None:
            for name, value in _memory(process.pid).items():
                highest[name] = max(highest.get(name, 0), value)
            if signum is not None and record is not None and _num_windows(record) >= after:
                process.send_signal(signum)
                signum = None
            time.sleep(0.02)
        errors.seek(0)
        text = errors.read()
    return {
        "status": process.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "anonymous_mib": round(highest["RssAnon"] / 1024, 1),
        "resident_mib": round(highest["VmHWM"] / 1024, 1),
        "stderr": text[-400:],
    }


def _memory(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    values = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon:", "VmHWM:")))
    return {name: int(value.split()[0]) for name, value in values.items()}


def _num_windows(record: Path) -> int:
    try:
        return len(json.loads(record.read_text())["windows"])
    except (OSError, ValueError, KeyError):
        return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
