"""`python -m src.prepare` with the real configuration."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from src.app.entry import settings_of
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.data.subject import load_subject
from src.media.video import write_video
from src.pose.formats import save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.prepare import PrepareSettings, prepare


def inputs(folder: Path) -> tuple[Path, Path]:
    """A clip of six frames and a keypoint file for it."""
    rng = np.random.default_rng(0)
    write_video(folder / "clip.mp4", rng.integers(0, 256, (6, 48, 64, 3), np.uint8), 10)
    seen = np.ones((6, NUM_KEYPOINTS), bool)
    save_poses(folder / "poses.npz", PoseSequence(rng.random((6, NUM_KEYPOINTS, 2)), seen, seen))
    return folder / "clip.mp4", folder / "poses.npz"


def test_every_option_reaches_the_subject(tmp_path):
    video, poses = inputs(tmp_path)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        options = ["data.resolution=32", "data.crop=pad", "data.fps=10", "data.start=0", "data.max_frames=6"]
        where = [f"video={video}", f"data.root={tmp_path / 'data'}", "pose=file", f"pose.path={poses}"]
        cfg = compose("prepare", [*where, *options, "name=007", "prompt=somebody"])
        subject = prepare(settings_of(PrepareSettings, cfg))
        unnamed = prepare(settings_of(PrepareSettings, compose("prepare", where)))
    assert subject.name == load_subject(subject.name, tmp_path / "data").name
    assert subject.frames.shape == (6, 32, 32, 3) and subject.prompt == "somebody"
    assert dict(subject.provenance["settings"]) == {
        "resolution": 32, "crop": "pad", "fps": 10, "start": 0, "max_frames": 6,
    }  # fmt: skip
    assert unnamed.name == "clip" and unnamed.resolution == 512


def test_a_missing_video_is_one_line(tmp_path):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("prepare", [f"video={tmp_path / 'absent.mp4'}", "pose=mediapipe"])
    with pytest.raises(UserError, match="no video at"):
        prepare(settings_of(PrepareSettings, cfg))
