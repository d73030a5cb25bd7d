"""ControlNets beside the pose one through the commands: from a clip to a run, and on to other poses."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import eval.retarget
import eval.run
import src.bench
import src.gallery
import src.repair
from eval.score import main as score_main
from src.common.errors import UserError
from src.data.subject import load_subject
from src.data.subject_split import split_subject
from src.info import main as info_main
from src.media.video import read_video, write_frames, write_video
from src.models.adapter import METADATA_KEY
from src.models.build import build_models
from src.models.control_images import DrawnImages, draw_canny
from src.models.settings import ControlNetSettings
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.formats import save_poses
from src.runs.conditions import with_conditions
from src.runs.keeping import keep_in
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.sample import main as sample_main
from src.sampling.kept_frames import KeptFrames
from src.train import main as train_main
from tests.conftest import TINY, run_settings

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=2", "data.num_frames=4")
EDGES = "model.controlnets=[{path: edges, condition: canny, scale: 0.5}]"
SMALL = ("sampling.num_steps=2", "trainer=cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two clips, their poses, and a run on it with edges beside the poses, by the command line."""
    folder = tmp_path_factory.mktemp("place")
    for name, count, seed in (("clip", 10, 3), ("dance", 4, 4)):
        frames, poses = render_clip(sample_identity(seed), "talk", count, 96, seed)
        write_video(folder / f"{name}.mp4", frames, 10)
        save_poses(folder / f"{name}.npz", poses, fps=10)
    words = ["subject=clip.mp4", "pose=file", "pose.path=clip.npz", *FAST, EDGES, "data.num_test_frames=3"]
    words += ["preview.every_n_steps=1", "preview.num_steps=1", "preview.num_poses=2", "run_dir=run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["src.train", *words])
        train_main()
    return folder


@pytest.fixture
def call(place, call_main, monkeypatch):
    """Call a command from the folder with the run."""

    def called(main, *words):
        monkeypatch.chdir(place)
        # call_main goes to an empty folder.
        monkeypatch.setattr(pytest.MonkeyPatch, "chdir", lambda self, path: None)
        return call_main(main, *words)

    return called


def test_a_run_keeps_what_its_controlnets_were_shown(place, call):
    for part, count in (("training", 4), ("held_out", 3)):
        frames, edges = (read_video(place / "run" / part / name).frames for name in ("frames", "conditions_0"))
        assert len(frames) == count
        np.testing.assert_array_equal(edges, [draw_canny(frame) for frame in frames])
    summary = json.loads((place / "run/summary.json").read_text())
    assert summary["sampling"]["controlnet_scales"] == [0.5] and (place / "run/preview/step_00001.png").is_file()
    entry = {"path": "edges", "condition": "canny", "scale": 0.5}
    assert entry.items() <= vars(RunFolder(place / "run").settings().model.controlnets[0]).items()
    with safe_open(place / "run/adapter.safetensors", "pt") as file:
        additions = json.loads(file.metadata()[METADATA_KEY])["additions"]
    assert additions["controlnets"] == [{"file": "edges", "condition": "canny", "scale": 0.5}]
    status, error = call(score_main, "run=run", "output=scores.json", "metrics=[psnr]", "device=cpu")
    assert status == 0, error
    sheet = np.array(Image.open(place / "run/contact_sheet.png"))
    assert sheet.shape[0] == 4 + 5 * 68, "pose, canny, generated, real, reference"


def test_another_video_is_followed_frame_by_frame_and_in_windows(place, call):
    source = ("run=run", "poses=dance.mp4", "pose=file", "pose.path=dance.npz", *SMALL)
    assert call(sample_main, *source, "output=whole") == (0, "")
    assert call(sample_main, *source, "output=rest", "sampling.controlnet_scales=[0]") == (0, "")
    whole, rest = (read_video(place / name / "frames").frames for name in ("whole", "rest"))
    assert whole.shape == rest.shape == (4, 64, 64, 3) and (whole != rest).any()
    assert json.loads((place / "rest/summary.json").read_text())["sampling"]["controlnet_scales"] == [0]
    # One window is the whole; of two each is sampled with its own images.
    assert call(sample_main, *source, "output=one", "sampling.window_frames=4") == (0, "")
    np.testing.assert_array_equal(read_video(place / "one/frames").frames, whole)
    assert call(sample_main, *source, "output=two", "sampling.window_frames=2") == (0, "")
    two = read_video(place / "two/frames").frames
    assert two.shape == whole.shape and len(np.unique(two, axis=0)) == 4


def test_each_frame_is_drawn_once_window_by_window(place, call, monkeypatch):
    """The key of the kept windows draws none, and the sheet takes those that the windows drew."""
    drawn, windows = [], []

    def counted(frame):
        drawn.append(len(windows))
        return draw_canny(frame)

    def added(kept, frames):
        windows.append(len(frames))
        write(kept, frames)

    write = KeptFrames.add
    monkeypatch.setattr(KeptFrames, "add", added)
    monkeypatch.setattr("src.models.control_images.draw_canny", counted)
    source = ("run=run", "poses=clip.mp4", "pose=file", "pose.path=clip.npz", *SMALL)
    assert call(sample_main, *source, "output=once", "sampling.window_frames=4") == (0, "")
    assert windows == [3, 3, 4] and drawn == [0] * 3 + [1] * 3 + [2] * 4
    sheet = np.array(Image.open(place / "once/contact_sheet.png"))
    frames = load_subject("clip", place / "data").frames
    # Pose, canny, generated, driver, reference: cells of 64 pixels and 4 between them.
    assert sheet.shape[0] == 4 + 5 * 68
    cell = sheet[72:136, -68:-4]
    np.testing.assert_array_equal(cell, draw_canny(frames[9]))


def test_the_key_of_kept_windows_names_what_the_conditions_are_drawn_from(place):
    run = RunFolder(place / "run")
    person = Person.load(run)
    poses, frames = person.clip.poses, person.clip.frames
    sampling = replace(person.settings.sampling, window_frames=2)

    def key(frames):
        conditions = (DrawnImages(person.settings.model.controlnets[0], frames, (64, 64)),)
        job = person.job(poses, fps=10.0, sampling=sampling, conditions=conditions)
        return keep_in(run, person.settings, job, person.settings.trainer, person.models[1]).key

    assert key(frames) == key(frames.copy())
    assert key(frames) != key(255 - frames)


def test_poses_alone_are_refused_at_once_unless_the_others_rest(place, call):
    status, error = call(sample_main, "run=run", "poses=clip.npz", *SMALL, "output=npz")
    assert status == 2 and error.count("\n") == 1 and not (place / "npz").exists()
    assert "model.controlnets[0], edges, follows canny of frames, and poses= has poses alone" in error
    assert "sampling.controlnet_scales=[0]" in error
    assert call(sample_main, "run=run", "poses=clip.npz", *SMALL, "output=npz", "sampling.controlnet_scales=[0]") == (
        0,
        "",
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["retarget=bones"], "retarget=bones moves the poses away from the frames that model.controlnets follow"),
        (["sampling.controlnet_scales=[1,1]"], "sampling.controlnet_scales=[1.0, 1.0] has 2 factors for 1"),
        (["sampling.controlnet_scales=[-1]"], "sampling.controlnet_scales=-1.0 must be at least 0"),
        (["condition=clip.mp4"], "condition=clip.mp4 goes with a method that learns no one, or with model.controlnets"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(words, line, place, call):
    source = ("run=run", "poses=clip.mp4", "pose=file", "pose.path=clip.npz", *SMALL)
    status, error = call(sample_main, *source, *words, "output=refused")
    assert status == 2 and line in error and error.count("\n") == 1 and not (place / "refused").exists()


def test_the_same_command_finds_the_run_finished_and_another_scale_is_another_run(place, call):
    words = ("subject=clip.mp4", "pose=file", "pose.path=clip.npz", *FAST, "data.num_test_frames=3", "run_dir=run")
    before = (place / "run/summary.json").stat().st_mtime_ns
    assert call(train_main, *words, EDGES) == (0, "")
    assert (place / "run/summary.json").stat().st_mtime_ns == before
    status, error = call(train_main, *words, EDGES.replace("0.5", "0.6"))
    assert status == 2 and "holds a run with another model.controlnets" in error


def test_images_that_are_given_stand_for_those_that_are_found(place, call):
    """Cut as the frames were: of the same edges the whole video's and the frames' own give runs of the same bits."""
    frames = read_video(place / "clip.mp4").frames
    write_frames(place / "full", frames)
    own = np.stack([draw_canny(frame) for frame in load_subject("clip", place / "data").frames])
    write_frames(place / "own", own)
    words = ("subject=clip.mp4", "pose=file", "pose.path=clip.npz", *FAST, "data.num_test_frames=3")
    net = "model.controlnets=[{{path: edges, condition: images, images: {}, scale: 0.5}}]"
    assert call(train_main, *words, net.format("own"), "run_dir=given") == (0, "")
    for name in ("adapter", "frames"):
        one, other = (_content(place / run, name) for run in ("run", "given"))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), name
    source = ("run=given", "poses=clip.npz", *SMALL, "output=given/out")
    status, error = call(sample_main, *source)
    assert status == 2 and "follows images that are given: give condition= a video or a folder with one" in error
    assert call(sample_main, *source, "condition=own") == (0, "")
    status, error = call(sample_main, *source, "condition=own", "sampling.controlnet_scales=[0]")
    assert status == 2 and "of which the run has none, or lets it rest: leave it out" in error
    status, error = call(
        sample_main, "run=given", "poses=clip.mp4", "pose=file", "pose.path=clip.npz", "condition=run/frames"
    )
    assert status == 2 and "run/frames has 3 condition images for 10 frames: give one for each frame" in error


def _content(run, name):
    if name == "frames":
        return [read_video(run / name).frames]
    with safe_open(run / "adapter.safetensors", "np") as file:
        return [file.get_tensor(key) for key in sorted(file.keys())]


def test_given_images_of_the_whole_video_are_cut_as_its_frames_were(place):
    subject = load_subject("clip", place / "data")
    settings = run_settings("subject=x", *FAST, "data.num_test_frames=3")
    split = split_subject(subject, settings.data)
    write_frames(place / "full", read_video(place / "clip.mp4").frames)
    net = ControlNetSettings(path="edges", condition="images", images=str(place / "full"))
    found = with_conditions(split, subject, replace(TINY, controlnets=[net]))
    np.testing.assert_array_equal(found.training.conditions[0], split.training.frames)
    np.testing.assert_array_equal(found.test_conditions[0], split.test_frames)
    write_frames(place / "odd", np.zeros((10, 32, 40, 3), np.uint8))
    with pytest.raises(UserError, match="condition images of 40x32 pixels: expected 64x64 as the subject's frames, or"):
        with_conditions(split, subject, replace(TINY, controlnets=[replace(net, images=str(place / "odd"))]))


@pytest.mark.parametrize(
    ("main", "words", "line"),
    [
        (eval.run.main, ["benchmark=people", "num_frames=4"], "a benchmark shows a method poses alone"),
        (src.repair.main, ["video=clip.mp4", "segments=[[2,3]]"], "a repair has only the bad frames to show them"),
        (src.gallery.main, [], "the gallery films poses that have no frames"),
        (src.bench.main, [], "what is measured here is the paper's model"),
        (eval.retarget.main, [], "this measurement moves poses away from their frames"),
        (
            sample_main,
            ["method=magicanimate", "subject=clip.mp4", "poses=clip.mp4", "condition=clip.mp4"],
            "method=magicanimate has none",
        ),
    ],
)
def test_commands_that_cannot_feed_them_say_so_in_one_line(main, words, line, call):
    status, error = call(main, *words, "model=tiny", EDGES)
    assert status == 2 and line in error and "model.controlnets (edges)" in error and error.count("\n") == 1


def test_the_check_names_them(call, monkeypatch):
    written = []
    monkeypatch.setattr("sys.stdout.write", written.append)
    status, _ = call(info_main, "model=tiny", "pose=mini", EDGES)
    assert status == 0
    found = json.loads("".join(written))
    assert found["controlnets"] == [{"path": "edges", "condition": "canny", "scale": 0.5}]
    assert found["parameters"]["controlnets[0]"] == found["parameters"]["controlnet"]
    assert found["trainable_parameters"] == build_models(TINY)[1].num_trainable()


def test_a_run_without_its_images_is_damaged(place, call, tmp_path):
    shutil.copytree(place / "run", tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/training/conditions_0")
    words = ("poses=clip.mp4", "pose=file", "pose.path=clip.npz", *SMALL)
    status, error = call(sample_main, f"run={tmp_path / 'copy'}", *words)
    assert status != 0 and "has condition images for 0 of its 1 model.controlnets" in error
