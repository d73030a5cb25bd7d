"""The main job from the command line: what a user runs and what it leaves behind."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.media.video import read_video, write_video
from src.models.settings import ModelSettings, model_warning
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.formats import load_poses, save_poses
from src.runs.run_folder import RunFolder
from src.train import main
from tests.conftest import CLIPS

RESULTS = ("adapter.safetensors", "comparison.mp4", "config.yaml", "contact_sheet.png", "generated.mp4")
RESULTS += ("poses.npz", "reference.json", "summary.json")
FAST = ("model=tiny", "trainer=cpu", "data.num_frames=4", "data.num_test_frames=5", "sampling.num_steps=2")


def assert_whole(run: Path, num_frames: int, size: tuple[int, int]) -> dict:
    """Every promised file is there and says the same."""
    assert not [name for name in RESULTS if not (run / name).is_file()]
    assert len(list((run / "frames").glob("*.png"))) == num_frames == len(load_poses(run / "poses.npz"))
    assert read_video(run / "generated.mp4").frames.shape == (num_frames, *size, 3)
    reference = json.loads((run / "reference.json").read_text())
    assert 0 <= reference["reference_frame"] < len(reference["distances"])
    assert not [path for path in run.rglob("*") if ".tmp" in path.name]
    return json.loads((run / "summary.json").read_text())


@pytest.fixture
def clip_with_poses(tmp_path) -> tuple[Path, Path]:
    """A rendered clip as a video file, and its exact poses as keypoints files."""
    frames, poses = render_clip(sample_identity(3), "talk", 14, 96, 3)
    write_video(tmp_path / "clip.mp4", frames, 10)
    save_poses(tmp_path / "clip.npz", poses, fps=10)
    return tmp_path / "clip.mp4", tmp_path / "clip.npz"


def test_a_video_with_poses_from_a_file_to_a_new_video(run_module, clip_with_poses, tmp_path):
    video, poses = clip_with_poses
    run = tmp_path / "outputs/run"
    command = (
        f"subject={video}",
        "pose=file",
        f"pose.path={poses}",
        *FAST,
        f"run_dir={run}",
        "preview.every_n_steps=2",
    )
    done = run_module("src.train", *command, "preview.num_steps=1", "preview.num_poses=2")
    assert done.returncode == 0, done.stderr
    assert f"src.sample run={run} poses=<" in done.stdout, "the keypoints are of this clip"
    summary = assert_whole(run, 5, (64, 64))
    assert summary["test_frames"] == [9, 10, 11, 12, 13] and len(summary["training_frames"]) == 4
    assert summary["training"]["steps"] == 3 and summary["training"]["seconds_per_step"] > 0
    assert summary["training"]["peak_memory_gib"] > 0 and summary["sampling"]["seconds_per_frame"] > 0
    assert (run / "preview/step_00002.png").is_file() and not (run / "checkpoints").exists()

    # The same person, filmed in another's poses, with another prompt.
    done = run_module("src.sample", f"run={run}", f"poses={poses}", "prompt=red hair", "method.latent_editing.parts=[]")
    assert done.returncode == 0, done.stderr
    other = json.loads((run / "samples/clip/summary.json").read_text())
    assert other["prompt"] == "red hair" and other["method"]["latent_editing"]["parts"] == []
    assert len(list((run / "samples/clip/frames").glob("*.png"))) == 14


@pytest.mark.parametrize(("name", "size"), [("ted_clip_1", (64, 64)), ("dance_clip_1", (128, 64))])
def test_the_main_job_on_a_real_clip(call_main, name, size, tmp_path):
    """In the shape that it was filmed in."""
    if not (CLIPS / f"{name}.mp4").is_file():
        pytest.skip(f"{name}.mp4 is not beside this checkout")
    pytest.importorskip("mediapipe")
    run = tmp_path / "run"
    command = (f"subject={CLIPS / name}.mp4", "pose=mediapipe", "data.max_frames=20", *FAST, f"run_dir={run}")
    status, stderr = call_main(main, *command)
    assert status == 0, stderr
    assert_whole(run, 5, size)
    poses = load_poses(run / "poses.npz")
    assert poses.mask[:, :8].mean() > 0.8, "the upper body is seen in nearly every frame"


def test_same_settings_same_video_and_a_finished_run_is_not_trained_again(train, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)

    def run(folder: str, *changes: str) -> dict:
        return train("subject=people_001", *FAST, "logger=csv", f"run_dir={folder}", *changes)

    one = run("one")
    two = run("two")
    frames = [read_video(tmp_path / name / "frames").frames for name in ("one", "two")]
    assert np.array_equal(*frames) and one["training"]["loss"] == two["training"]["loss"]
    assert run("one") == one, "a finished run is not repeated"
    again = run("one", "sampling.num_steps=3")
    assert "one of another sampling.num_steps (2, not 3) is replaced" in caplog.text
    assert again["training"] == one["training"] and again["sampling"]["num_steps"] == 3
    third = run("three", "seed=1")
    assert third["training"]["loss"] != one["training"]["loss"]
    saved = RunFolder(tmp_path / "one").settings()
    assert saved.model.name == "tiny" and saved.subject == "people_001"
    assert "_target_" not in (tmp_path / "one/config.yaml").read_text()


def test_a_run_repeats_from_its_settings_to_the_same_bits(train, call_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("subject=people_002", *FAST, "run_dir=first", "seed=3", "target_prompt=red hair")
    assert call_main(main, "repeat=first", "run_dir=second") == (0, "")
    assert (tmp_path / "first/adapter.safetensors").read_bytes() == (
        tmp_path / "second/adapter.safetensors"
    ).read_bytes()
    frames = [read_video(tmp_path / name / "frames").frames for name in ("first", "second")]
    assert np.array_equal(*frames)
    first, second = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "second"))
    assert first["inputs"] == second["inputs"] and len(first["inputs"]["training_frames_sha256"]) == 64
    assert first["versions"] == second["versions"] and first["seed"] == 3 and "git" in first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"], "Hydra leaves no folders of its own"


def test_runs_that_differ_in_sampling_share_a_fine_tune(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(folder: str, *changes: str) -> dict:
        shared = ("subject=people_001", *FAST, "fine_tune_cache=cache", f"run_dir={folder}")
        return train(*shared, *changes)

    one, two = run("one"), run("two", "method=controlvideo")
    assert two["training"] == one["training"] and len(list((tmp_path / "cache").iterdir())) == 1
    assert (tmp_path / "one/adapter.safetensors").read_bytes() == (tmp_path / "two/adapter.safetensors").read_bytes()
    run("three", "optimizer.lr=1e-4")
    run("four", "subject=people_002")
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_experiments_that_ship_are_found_from_anywhere(compose_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = compose_config("train", "experiment=ablation_start", "subject=people_001")
    assert cfg.fine_tune_cache == "outputs/fine_tunes"


def test_a_run_folder_has_one_writer(call_main, tmp_path, monkeypatch):
    pose = ("pose=mini", "pose.visibility_threshold=0.25")
    command = ("subject=people_001", *pose, *FAST, "run_dir=run")
    with RunFolder(tmp_path / "run").only_writer():
        status, stderr = call_main(main, *command)
        assert status == 2 and stderr.count("\n") == 1 and "another process is writing into run" in stderr
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    assert call_main(main, *command) == (0, "")
    # Poses of a driver are found as they were here.
    told = []
    monkeypatch.setattr("src.train.log.info", lambda message, *words: told.append(message % words))
    assert call_main(main, *command) == (0, "")
    assert f"src.sample run=run {' '.join(pose)} poses=<" in told[-1]
    assert call_main(main, "repeat=run", "run_dir=again") == (0, "")
    assert f"src.sample run=again {' '.join(pose)} poses=<" in told[-1], "whoever said how"


@pytest.mark.parametrize(("name", "rendered", "word"), [("mini", False, "sd15"), ("mini", True, None)])
def test_the_miniature_on_a_filmed_person_is_said(name, rendered, word):
    said = model_warning(ModelSettings(name=name, base="anywhere"), rendered=rendered)
    assert said is None if word is None else word in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: subject is not set"),
        (("subject=gone.mp4",), "error: no video at gone.mp4"),
        (("subject=people_099",), "error: unknown subject people_099"),
        (("subject=people_001", "method.init=zeros"), "error: method.init=zeros is unknown"),
        (("subject=people_001", "sampling.guidance_scale=high"), "error: sampling.guidance_scale=high"),
        (("subject=people_001", "data.resolution=100"), "error: data.resolution=100 does not suit this model"),
        (("subject=people_001", "data.num_frames=60"), "error: the clip has 56 frames"),
        (("subject=people_001", "trainer.max_steps=0"), "error: trainer.max_steps=0"),
        (
            ("subject=people_001", "model.dtype=bfloat16", "trainer.precision=32-true"),
            "error: model.dtype=bfloat16 cannot go with trainer.precision=32-true: ",
        ),
        (("subject=people_001", "model=giant"), "error: model=giant is unknown (no model/giant): choose one of mini, "),
        (
            ("subject=people_001", "experiment=ablation_component"),
            "ablation_component is unknown (no experim",
        ),
        (("subject=people_001", "sampling.num_steps=[1"), "error: "),
        (("subject=people_001", "seed=${nope}"), "error: Interpolation key 'nope' not found"),
        (("subject=people_001", "model=sd15", "model.base=missing/folder"), "error: model.base=missing/folder could"),
        (("subject=people_001", f"fine_tune_cache={'x' * 300}"), "xxx cannot be read: the name is too long"),
        (("subject=people_001", "fine_tune_cache=/dev/null"), "error: /dev/null cannot be read: a part of the path is"),
        (("subject=people_001", "metod=posecrafter"), "error: metod is unknown: did you mean method?"),
        (("subject=people_001", "experiments=table1"), "error: experiments is unknown: did you mean experiment?"),
        (
            ("subject=people_001", "trainer.max_step=3"),
            "error: trainer.max_step is unknown: did you mean trainer.max_s",
        ),
        (("subject=people_001", "colour=red"), "error: colour is unknown: --help lists the settings"),
        (("subject=people_001", "logger.colour=red"), "append to your config use +logger.colour=red"),
    ],
)
def test_bad_input_is_one_clear_line(call_main, arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = () if any(argument.startswith("model=") for argument in arguments) else ("model=tiny",)
    status, stderr = call_main(main, *model, "run_dir=run", *arguments)
    assert status not in (0, None)
    assert message in stderr and "Traceback" not in stderr
    assert stderr.count("\n") == 1, "one line"
    assert not (tmp_path / "run").exists()
