"""`python -m src.prepare` with the real configuration."""

from pathlib import Path

import numpy as np
import pytest

from src.app.entry import settings_of
from src.common.errors import UserError
from src.data.subject import load_subject
from src.media.video import write_video
from src.pose.formats import save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.prepare import PrepareSettings
from src.prepare import prepare as prepare_clips


def inputs(folder: Path) -> tuple[Path, Path]:
    """A clip of six frames and a keypoint file for it."""
    rng = np.random.default_rng(0)
    write_video(folder / "clip.mp4", rng.integers(0, 256, (6, 48, 64, 3), np.uint8), 10)
    seen = np.ones((6, NUM_KEYPOINTS), bool)
    save_poses(folder / "poses.npz", PoseSequence(rng.random((6, NUM_KEYPOINTS, 2)), seen, seen))
    return folder / "clip.mp4", folder / "poses.npz"


@pytest.fixture
def prepare(compose_config):
    return lambda *overrides: prepare_clips(settings_of(PrepareSettings, compose_config("prepare", *overrides)))


def test_every_option_reaches_the_subject(prepare, tmp_path):
    video, poses = inputs(tmp_path)
    options = ["data.resolution=32", "data.crop=pad", "data.fps=10", "data.start=0", "data.max_frames=6"]
    where = [f"video={video}", f"data.root={tmp_path / 'data'}", "pose=file", f"pose.path={poses}"]
    subject = prepare(*where, *options, "name='007'", "prompt=somebody")
    unnamed = prepare(*where)
    assert subject.name == "007" == load_subject(subject.name, tmp_path / "data").name
    assert subject.frames.shape == (6, 32, 32, 3) and subject.prompt == "somebody"
    assert dict(subject.provenance["settings"]) == {
        "resolution": 32, "crop": "pad", "fps": 10, "start": 0, "max_frames": 6,
    }  # fmt: skip
    assert unnamed.name == "clip" and unnamed.resolution == 512


def test_a_missing_video_is_one_line(prepare, tmp_path):
    with pytest.raises(UserError, match="no video at"):
        prepare(f"video={tmp_path / 'absent.mp4'}", "pose=mediapipe")
