"""Malformed files and settings by the thousand, each through a whole command: one line, or what was asked for."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from eval.benchmark.settings import BenchmarkSettings
from eval.report import ReportCommand
from eval.score import ScoreCommand
from src.inpainting.settings import RepairSettings
from src.prepare import PrepareSettings
from src.runs.sample_settings import SampleSettings
from src.runs.settings import RunSettings
from src.showcase.settings import GallerySettings, LookSettings
from tests.chaos import folders, processes
from tests.chaos.damage import ATTACKS, ODD_SETTINGS, damage, keys_of
from tests.chaos.processes import Command, Ended
from tests.chaos.report import Case
from tests.chaos.world import STAGES, World
from tests.data.datasets.helpers import random_clips, write_split

_SAMPLE, _TRAIN, _SHOW = STAGES["sample"].command, STAGES["train"].command, STAGES["show"].command
_SCORE, _REPORT, _REPAIR = STAGES["score"].command, STAGES["report"].command, STAGES["repair"].command
_PREPARE, _SWEEP = STAGES["prepare"].command, Command("report", ("sweep=.", "metrics=[ssim,psnr]", "output=swept"))
_REPEAT = Command("train", ("repeat=run", "run_dir=again"))
_CACHED = Command("train", (*_TRAIN.arguments[:-2], "run_dir=second", "fine_tune_cache=cache"))
_OTHER = Command("prepare", (*(a for a in _PREPARE.arguments if not a.startswith("name=")), "name=other"))
_POSES = {
    name: Command("poses", ("show", "run=run", f"poses={name}", "output=seen"))
    for name in ("clip.npz", "poses.json", "script.yaml")
}
_TIKTOK = Command("prepare", ("dataset=tiktok", "dataset.root=tsv", "pose=file", "data.resolution=64"))
_FOLDER = Command(
    "prepare", ("dataset=folder", "dataset.root=clips", "pose=file", "pose.path=clip.npz", "data.resolution=64")
)
# What is damaged, and the commands that read it.
VICTIMS: dict[str, tuple[Command, ...]] = {
    "run/config.yaml": (_SAMPLE, _SHOW, _TRAIN, _REPEAT, _SWEEP),
    "run/training/clip.json": (_SAMPLE, _SHOW),
    "run/training/poses.npz": (_SAMPLE, _SHOW),
    "run/training/frames/00000.png": (_SAMPLE, _SHOW, _SCORE),
    "run/held_out/poses.npz": (_SCORE,),
    "run/held_out/frames/00000.png": (_SCORE,),
    "run/frames/00001.png": (_SCORE, _TRAIN),
    "run/summary.json": (_TRAIN, _SWEEP),
    "run/fine_tune.json": (_TRAIN,),
    "run/adapter.safetensors": (_SAMPLE, _TRAIN),
    "data/me/subject.yaml": (_TRAIN, _PREPARE),
    "data/me/frames.npy": (_TRAIN, _PREPARE),
    "data/me/poses.npz": (_TRAIN, _PREPARE),
    "cache/adapter.safetensors": (_CACHED,),
    "cache/fine_tune.json": (_CACHED,),
    "clip.mp4": (_PREPARE, _OTHER, _REPAIR),
    "clip.npz": (_OTHER, _SAMPLE, _POSES["clip.npz"]),
    "poses.json": (_POSES["poses.json"],),
    "script.yaml": (_POSES["script.yaml"],),
    "scores.json": (_REPORT,),
    "tsv/val_images.tsv": (_TIKTOK,),
    "tsv/val_vid2line.tsv": (_TIKTOK,),
    "data/clips.manifest.json": (_FOLDER,),
}
SETTINGS = {
    **{"train": RunSettings, "sample": SampleSettings, "repair": RepairSettings, "prepare": PrepareSettings},
    **{"benchmark": BenchmarkSettings, "score": ScoreCommand, "report": ReportCommand, "show": LookSettings},
    **{"gallery": GallerySettings},
}
hang_seconds = processes.HANG_SECONDS
_LONG = ("max_steps", "num_steps", "max_time", "frames", "resolution", "num_")


def cases(world: World, count: int, seed: int, number: int, workers: int) -> Iterator[str]:
    """One process's share of `count` malformed inputs.

    Yields:
        A `Case` as a line for each.
    """
    chance = random.Random(f"inputs {seed} {number}")
    for index in range(count // workers + (number < count % workers)):
        folder = world.root / f"input-{number}" / str(index)
        folders.copy(world.root / "extras", folder)
        case = _setting(world, folder, chance) if chance.random() < 0.35 else _file(folder, chance)
        if not case.findings:
            folders.remove(folder)
        yield case.line()


def make_extras(world: World) -> None:
    """Inputs that no stage leaves: keypoints as JSON, a pose script, a data set as TSV, one as a folder of clips."""
    from src.pose.formats import load_poses, save_poses

    folder = world.root / "extras"
    shutil.copytree(world.after("report"), folder, dirs_exist_ok=True)
    save_poses(folder / "poses.json", load_poses(folder / "clip.npz"), fps=10)
    (folder / "script.yaml").write_text(
        "frames: 3\nframe: 0\nedits:\n  - {edit: blink, side: right, keys: {0: 0, 2: 1}}\n"
    )
    write_split(folder / "tsv", random_clips([2, 2]))
    (folder / "clips").mkdir()
    shutil.copy(folder / "clip.mp4", folder / "clips" / "one.mp4")


def complete_extras(world: World) -> None:
    """The manifest of the folder of clips, by the command itself."""
    ended = processes.run(_FOLDER, world.root / "extras", seconds=600)
    if ended.status:
        raise RuntimeError(f"the data set does not prepare, status {ended.status}: {ended.stderr}")


def _file(folder: Path, chance: random.Random) -> Case:
    victim = chance.choice(list(VICTIMS))
    command = chance.choice(VICTIMS[victim])
    path = folder / victim
    if victim.startswith("cache/"):
        [cached] = (entry for entry in (folder / "cache").iterdir() if entry.is_dir())
        path = cached / path.name
    if victim == "run/adapter.safetensors" and chance.random() < 0.5:
        (folder / "run/summary.json").unlink()
    done = damage(path, chance)
    ended = processes.run(command, folder, seconds=hang_seconds)
    what = f"{folder.name}: {victim}, {done}: {command.name} {' '.join(command.arguments)[:200]}: {ended.status}"
    return Case("inputs", what, _counts("files", ended), tuple(_wrong(ended, folder)))


def _setting(world: World, folder: Path, chance: random.Random) -> Case:
    stage = chance.choice(list(SETTINGS))
    key = chance.choice(list(keys_of(SETTINGS[stage])))
    value = chance.choice([*ODD_SETTINGS, *ATTACKS] if chance.random() < 0.9 else ["1", "2", "3"])
    if chance.random() < 0.1:
        key = chance.choice(
            [f"{key}s", f"+{key}.x", f"~{key}", f"++{key}", "x", "hydra.job.name", key.upper(), f"-{key}"]
        )
    command = Command(STAGES[stage].command.name, (*STAGES[stage].command.arguments, f"{key}={value}"))
    before = folders.content(folder)
    ended = processes.run(command, folder, seconds=hang_seconds)
    wrong = _wrong(ended, folder)
    if ended.hung and any(name in key for name in _LONG):
        wrong = []
    if ended.status == 2 and (new := folders.difference(before, folders.content(folder))):
        wrong.append(f"refused, but wrote {new[:4]}")
    what = f"{folder.name}: {command.name} {key}={value[:60]}: {ended.status}"
    return Case("inputs", what, _counts("settings", ended), tuple(wrong))


def _counts(kind: str, ended: Ended) -> dict[str, int]:
    return {kind: 1, f"status {ended.status}": 1}


def _wrong(ended: Ended, folder: Path) -> list[str]:
    wrong = []
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    if ended.hung:
        wrong.append(f"hung: {ended.stderr[-3000:]}")
    elif ended.traceback:
        wrong.append(f"a traceback: {ended.stderr[-1800:]}")
    elif ended.status not in (0, 2):
        wrong.append(f"status {ended.status}: {ended.stderr[-600:]!r}")
    elif ended.status == 2 and (len(lines) != 1 or len(lines[0]) > 2100 or not lines[0].isprintable()):
        wrong.append(f"not one line: {ended.stderr[-800:]!r}")
    if left := folders.leftovers(folder):
        wrong.append(f"leaves {left[:3]}")
    if any((place / "owned").exists() for place in (folder, folder.parent, folder.parents[1])):
        wrong.append("the input ran code")
    return wrong
