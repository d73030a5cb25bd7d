"""`python -m src.prepare` with the real configuration."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from src.app.entry import settings_of
from src.common.errors import UserError
from src.data.subject import load_subject
from src.media.video import read_video, write_frames, write_video
from src.pose.extractors import kept_people
from src.pose.extractors.base import extract_people
from src.pose.extractors.dwpose import DWPoseExtractor
from src.pose.extractors.settings import DWPoseSettings
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.tracking import Detection
from src.poses import main as poses_main
from src.prepare import PrepareSettings
from src.prepare import main as prepare_main
from src.prepare import prepare as prepare_clips
from src.repair import main as repair_main
from src.sample import main as sample_main
from src.train import main as train_main


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
    options = [
        "data.resolution=32",
        "data.aspect=square",
        "data.crop=pad",
        "data.fps=10",
        "data.start=0",
        "data.max_frames=6",
    ]
    where = [f"video={video}", f"data.root={tmp_path / 'data'}", "pose=file", f"pose.path={poses}"]
    subject = prepare(*where, *options, "name='007'", "prompt=somebody")
    unnamed = prepare(*where)
    assert subject.name == "007" == load_subject(subject.name, tmp_path / "data").name
    assert subject.frames.shape == (6, 32, 32, 3) and subject.prompt == "somebody"
    assert dict(subject.provenance["settings"]) == {
        "resolution": 32, "aspect": "square", "crop": "pad", "fps": 10, "start": 0, "max_frames": 6,
    }  # fmt: skip
    assert unnamed.name == "clip" and unnamed.size == (512, 704), "its own shape, as near as multiples of 64 are"


def test_what_is_prepared_stays_where_its_video_is_named_with_other_settings(call_main, tmp_path):
    _, poses = inputs(tmp_path)
    save_poses(tmp_path / "four.npz", load_poses(poses)[:4])
    pose, small = ("pose=file", "pose.path=poses.npz"), "data.resolution=64"
    assert call_main(prepare_main, "video=clip.mp4", small, *pose, "prompt=somebody") == (0, "")
    named = ("poses=clip.mp4", "data.max_frames=4", small, "pose=file", "pose.path=four.npz")
    for output in ("once", "again"):
        assert call_main(poses_main, "show", *named, f"output={output}") == (0, "")
    assert len(load_poses(tmp_path / "once/poses.npz")) == 4 and len(load_subject("clip", tmp_path / "data")) == 6
    beside = [path.name for path in (tmp_path / "data").glob("clip-??????")]
    assert len(beside) == 1 and len(load_subject(beside[0], tmp_path / "data")) == 4
    assert call_main(prepare_main, "video=clip.mp4", "data.resolution=32", *pose) == (0, "")
    assert load_subject("clip", tmp_path / "data").resolution == 32, "src.prepare itself replaces"
    assert load_subject("clip", tmp_path / "data").prompt == "somebody"


@pytest.mark.parametrize("prompt", ["", " ", "\t\u3000"])
def test_a_blank_prompt_is_refused_before_anything_is_written(call_main, tmp_path, prompt):
    inputs(tmp_path)
    pose = ("pose=file", "pose.path=poses.npz", f"prompt={prompt}")
    commands = (
        (prepare_main, "video=clip.mp4"),
        (repair_main, "video=clip.mp4", "segments=[[2,3]]", "model=tiny", "trainer=cpu"),
        (train_main, "subject=clip.mp4", "model=tiny", "trainer=cpu", "run_dir=run"),
    )
    for main, *options in commands:
        status, stderr = call_main(main, *options, *pose)
        assert status == 2 and stderr == (
            f"error: prompt={prompt!r} is blank: say in a line of text what is to be seen, or leave prompt= out\n"
        )
    for name, main, *options in (
        ("target_prompt", train_main, "subject=people_001", "model=tiny", "trainer=cpu", "run_dir=run"),
        ("prompt", sample_main, "run=run", "poses=people_002"),
    ):
        status, stderr = call_main(main, *options, f"{name}={prompt}")
        assert status == 2 and stderr.startswith(f"error: {name}={prompt!r} is blank: "), stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "poses.npz"]


def test_poses_of_the_detector_of_drawn_people_come_with_a_warning(prepare, tmp_path, caplog):
    video, poses = inputs(tmp_path)
    where = [f"video={video}", f"data.root={tmp_path / 'data'}", "data.resolution=64"]
    prepare(*where, "pose=file", f"pose.path={poses}")
    assert "drawn people" not in caplog.text
    prepare(*where, "pose=mini")
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("pose=mini has seen drawn people alone")


def test_a_search_for_people_that_was_stopped_goes_on(call_main, tmp_path, monkeypatch):
    inputs(tmp_path)
    person, looked = np.random.default_rng(1).random((32, NUM_KEYPOINTS, 2)), []

    class Detector(DWPoseExtractor):
        def extract(self, frames, *, total=None):
            def detect(frame: np.ndarray) -> list[Detection]:
                looked.append(len(looked))
                if len(looked) == 5:
                    signal.raise_signal(signal.SIGINT)
                return [Detection(person[len(looked)], np.ones(NUM_KEYPOINTS))] * (len(looked) != 2)

            return extract_people(detect, frames, total=total, name=self.name, kept=self.kept)[0]

        def fingerprint(self) -> str:
            return "counts"

    monkeypatch.setattr(DWPoseSettings, "build", lambda self: Detector(detector="", estimator=""))
    monkeypatch.setattr(kept_people, "EVERY_SECONDS", 0)
    words = (prepare_main, "video=clip.mp4", "data.resolution=64", "pose=dwpose", "data.crop=none")
    status, stderr = call_main(*words)
    assert (status, looked) == (130, [0, 1, 2, 3, 4]) and stderr.startswith("stopped by SIGINT")
    (kept,) = (tmp_path / "data/.poses").glob("*.people.npz")
    whole, torn = kept.read_bytes(), kept.read_bytes()[:-9]
    assert call_main(*words)[0] == 0 and looked[5:] == [5, 6] and not kept.exists()
    poses = load_subject("clip", tmp_path / "data").poses
    assert poses.mask.any(1).tolist() == [True, False, True, True, True, True]
    np.testing.assert_array_equal(poses.xy[[0, 3, 4]], person[[1, 4, 6]].astype(np.float32))
    kept.write_bytes(torn)
    assert call_main(*words, "force=true")[0] == 0 and len(looked) == 13, "what is damaged is looked for again"
    kept.write_bytes(whole)
    assert call_main(*words, "force=true")[0] == 0 and len(looked) == 19, "force goes on from nothing"


def test_a_missing_video_is_one_line(prepare, tmp_path):
    with pytest.raises(UserError, match="no video at"):
        prepare(f"video={tmp_path / 'absent.mp4'}", "pose=mediapipe")


def test_subjects_go_with_a_data_set(call_main, tmp_path):
    inputs(tmp_path)
    status, stderr = call_main(
        prepare_main, "video=clip.mp4", "subjects=[nonsense]", "pose=file", "pose.path=poses.npz"
    )
    assert status == 2 and "chooses among the clips of a data set" in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_frames_too_long_to_be_kept_whole_are_refused(call_main, tmp_path):
    _, poses = inputs(tmp_path)
    write_video(tmp_path / "long.mp4", np.zeros((6, 32, 192, 3), np.uint8), 10)
    call = ("video=long.mp4", "data.aspect=source", "data.resolution=64", "pose=file", f"pose.path={poses}")
    status, stderr = call_main(prepare_main, *call, "data.crop=none")
    assert status == 2 and "frames of 192x32 pixels are further from a square than 4:1" in stderr
    assert "pad keeps them whole" in stderr and stderr.count("\n") == 1 and not (tmp_path / "data/long").exists()
    assert call_main(prepare_main, *call, "data.crop=pad") == (0, "")
    assert load_subject("long", tmp_path / "data").size == (64, 256)


def test_hidden_images_are_no_part_of_a_clip(call_main, tmp_path):
    video, poses = inputs(tmp_path)
    write_frames(tmp_path / "im", read_video(video).frames)
    call = ("video=im", "name=im", "data.resolution=64", "pose=file", f"pose.path={poses}")
    assert call_main(prepare_main, *call) == (0, "")
    (tmp_path / "im/._00000.png").write_bytes(b"macOS")
    assert call_main(prepare_main, *call) == (0, "")


def test_one_of_several_people_is_chosen_and_shown(prepare, tmp_path):
    video, _ = inputs(tmp_path)
    rng = np.random.default_rng(1)
    shape, seen = rng.uniform(0, 0.3, (NUM_KEYPOINTS, 2)), np.ones((6, NUM_KEYPOINTS), bool)
    places = {"large": (1.6, (0.5, 0.2)), "small": (1.0, (0.1, 0.5))}
    people = {name: PoseSequence(np.tile(shape, (6, 1, 1)) * s + at, seen, seen) for name, (s, at) in places.items()}
    frames = []
    for name, poses in people.items():
        save_poses(tmp_path / f"{name}.json", poses, size=(48, 64))
        frames.append(json.loads((tmp_path / f"{name}.json").read_text()))
    for one, other in zip(*frames, strict=True):
        one["people"] += other["people"]
    (tmp_path / "both.json").write_text(json.dumps(frames[0]))
    where = [f"video={video}", f"data.root={tmp_path / 'data'}", "pose=file", f"pose.path={tmp_path / 'both.json'}"]
    for person, name in (("largest", "large"), ("left", "small"), ("1", "small"), ("right", "large")):
        subject = prepare(*where, "data.crop=pad", "data.resolution=64", f"pose.person={person}")
        expected = people[name].xy * (1, 0.75) + (0, 0.125)
        np.testing.assert_allclose(subject.poses.xy, expected, atol=0.01)
        assert (tmp_path / "data/clip/people.png").is_file()
    with pytest.raises(UserError, match=r"pose.person=left: pose=mediapipe finds one person"):
        prepare(f"video={video}", "pose=mediapipe", "pose.person=left")
    with pytest.raises(UserError, match=r"pose\.person"):
        prepare(*where, "pose.person=-1")
