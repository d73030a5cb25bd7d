"""What people film: a driver's sound and rhythm."""

import numpy as np
import pytest

from src.media.video import read_video
from src.people.render import render_clip, sample_identity
from src.pose.formats import save_poses
from tests.media.test_sound import beeps, streams, write_with_beeps

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_frames=4")


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A finished run of people_001 with the toy model."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train("subject=people_001", *FAST, "data.num_test_frames=1", f"run_dir={folder}", "sample_after_train=false")
    return folder


@pytest.mark.parametrize("audio", ["driver", "none"])
def test_a_driver_gives_its_rate_and_sound(run, sample, tmp_path, audio):
    write_with_beeps(tmp_path / "driver.mp4", seconds=2)
    _, poses = render_clip(sample_identity(3), "talk", 10, 64, 3)
    save_poses(tmp_path / "driver.npz", poses)
    summary = sample(
        *(f"run={run}", f"poses={tmp_path / 'driver.mp4'}", "pose=file", f"pose.path={tmp_path / 'driver.npz'}"),
        *(f"data.root={tmp_path / 'data'}", "data.start=5", "data.max_frames=10", "sampling.num_steps=1"),
        *(f"audio={audio}", f"output={tmp_path / 'out'}"),
    )
    for name in ("generated.mp4", "comparison.mp4"):
        video = tmp_path / "out" / name
        assert read_video(video).fps == 10 and len(read_video(video).frames) == 10
        if audio == "driver":
            assert streams(video) == pytest.approx({"video": 1.0, "audio": 1.0}, abs=0.05)
            np.testing.assert_allclose(beeps(video), [0.5], atol=0.03)
        else:
            assert list(streams(video)) == ["video"]
    assert summary["sound_of"] == ("driver.mp4" if audio == "driver" else None) and summary["fps"] == 10
