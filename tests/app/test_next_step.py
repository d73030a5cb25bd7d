"""A command that has finished says which one goes on from there, as a shell takes it."""

import shlex

import numpy as np
import pytest

from src.media.video import write_video
from src.pose.formats import save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.prepare import main as prepare_main
from src.train import main as train_main


@pytest.fixture
def told(monkeypatch) -> list[list[str]]:
    """What the commands say, as the words of a shell."""
    lines = []
    for name in ("src.prepare", "src.train"):
        monkeypatch.setattr(f"{name}.log.info", lambda text, *values: lines.append(shlex.split(text % values)))
    return lines


def test_from_a_clip_to_its_person(call_main, tmp_path, told):
    seen = np.ones((6, NUM_KEYPOINTS), bool)
    write_video(tmp_path / "me.mp4", np.zeros((6, 48, 64, 3), np.uint8), 10)
    save_poses(tmp_path / "poses.npz", PoseSequence(np.full((6, NUM_KEYPOINTS, 2), 0.5), seen, seen))
    clip = ("video=me.mp4", "pose=file", "pose.path=poses.npz", "data.resolution=64")
    assert call_main(prepare_main, *clip) == (0, "")
    assert call_main(prepare_main, *clip, "data.root=my data") == (0, "")
    assert [line[-3:] for line in told] == [
        ["-m", "src.train", "subject=me"],
        ["src.train", "subject=me", "data.root=my data"],
    ]


def test_from_a_person_to_other_poses(call_main, monkeypatch, told):
    monkeypatch.setattr("src.runs.make_run.make_run", lambda settings, run, **rest: {})
    assert call_main(train_main, "subject=people_001", "run_dir=it's mine") == (0, "")
    assert told[0][told[0].index("src.sample") + 1] == "run=it's mine"
    assert call_main(train_main, "-m", "subject=people_001", "seed=0,1", "hydra.sweep.dir=sweep")[0] == 0
    assert len(told) == 1, "a sweep has as many persons as jobs"
