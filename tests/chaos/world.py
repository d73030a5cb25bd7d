"""The small world of the campaign: a rendered clip with its poses, and every command on the toy model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import folders, processes
from tests.chaos.processes import Command, Ended

FAST = (
    *("model=tiny", "trainer=cpu", "trainer.max_steps=3", "sampling.num_steps=1", "checkpoint_every_n_steps=1"),
    *("data.num_frames=3", "data.resolution=64"),
)
_POSES = ("pose=file", "pose.path=clip.npz")
# Left: an item of each kind.
_LEFT_OUT = ("blink_right", "wave_left", "another_person", "more_parts", "references", "hair")


@dataclass(frozen=True)
class Stage:
    """One command of the campaign.

    Attributes:
        command: its command line.
        needs: names of the stages whose results it starts from.
        slow: takes many times as long as the others, and gets fewer cases.
    """

    command: Command
    needs: tuple[str, ...] = ()
    slow: bool = False


def _stage(name: str, *arguments: str, needs: Sequence[str] = (), slow: bool = False) -> Stage:
    return Stage(Command(name, tuple(arguments)), tuple(needs), slow)


STAGES = {
    "prepare": _stage("prepare", "video=clip.mp4", "name=me", "data.resolution=64", *_POSES),
    "train": _stage(
        *("train", "subject=me", *FAST, "data.num_test_frames=2", "run_dir=run", "fine_tune_cache=cache"),
        needs=("prepare",),
    ),
    "sweep": _stage(
        *("train", "-m", "subject=me", "method=controlvideo,posecrafter", *FAST, "data.num_test_frames=2"),
        *("hydra.sweep.dir=sweep", "fine_tune_cache=cache"),
        needs=("prepare",),
    ),
    "sample": _stage("sample", "run=run", "poses=clip.npz", "output=out", needs=("prepare", "train")),
    "long": _stage(
        *("sample", "run=run", "poses=clip.npz", "sampling.window_frames=3", "output=long"), needs=("prepare", "train")
    ),
    "show": _stage("poses", "show", "run=run", "poses=clip.npz", "output=shown", needs=("prepare", "train")),
    "repair": _stage("repair", "video=clip.mp4", "segments=[[5,6]]", *FAST, *_POSES, "run_dir=mended"),
    "gallery": _stage(
        *("gallery", "subject=people_001", *FAST, "folder=gallery", "cell=32", "pictures.repair.frames=9"),
        *("pictures.repair.segment=[4,5]", *(f"~pictures.{name}" for name in _LEFT_OUT)),
        slow=True,
    ),
    "benchmark": _stage(
        *("run", "benchmark=people", "subjects=[people_001,people_002]", "model=tiny", "trainer=cpu"),
        *("trainer.max_steps=2", "sampling.num_steps=1", "num_frames=2", "data.num_test_frames=2"),
        *("data.resolution=64", "prepared_resolution=64", "metrics=[ssim,psnr]", "device=cpu", "output=eval"),
        *("runs=runs", "fine_tune_cache=cache"),
        slow=True,
    ),
    "score": _stage("score", "run=run", "metrics=[ssim,psnr]", "output=scores.json", needs=("prepare", "train")),
    "report": _stage("report", "results=scores.json", "output=report", needs=("prepare", "train", "score")),
}


def make_clip(folder: Path) -> None:
    """A clip of a rendered person as a video, and its poses."""
    from src.media.video import write_video
    from src.people.identity import sample_identity
    from src.people.render import render_clip
    from src.pose.formats import save_poses

    frames, poses = render_clip(sample_identity(3), "talk", 10, 64, 3)
    write_video(folder / "clip.mp4", frames, 10)
    save_poses(folder / "clip.npz", poses, fps=10)


class World:
    """Folders in which each stage can start, and what an undisturbed run leaves.

    Args:
        root: of everything.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.undisturbed: dict[str, Ended] = {}
        self.expected: dict[str, dict[str, str]] = {}

    def before(self, stage: str) -> Path:
        """The folder that a stage starts in; copy it."""
        return self.root / f"before-{stage}"

    def after(self, stage: str) -> Path:
        """The folder with its result."""
        return self.root / f"after-{stage}"

    def build(self, stages: Sequence[str]) -> None:
        """Run what is needed of every stage once, undisturbed."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name, stage in STAGES.items():
            if not any(name == wanted or name in STAGES[wanted].needs for wanted in stages):
                continue
            if stage.needs:
                folders.copy(self.after(stage.needs[-1]), self.before(name))
            else:
                self.before(name).mkdir(parents=True, exist_ok=True)
                processes.isolated(lambda name=name: make_clip(self.before(name)))
            folders.copy(self.before(name), self.after(name))
            ended = processes.run(stage.command, self.after(name), seconds=600)
            if ended.status:
                raise RuntimeError(f"{name} does not run at all, status {ended.status}: {ended.stderr}")
            self.undisturbed[name], self.expected[name] = ended, folders.content(self.after(name))
