"""Looking at poses before generating, and what sampling does with them: scripts, other people's poses, far poses."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.pose_sources import PoseSourceSettings, target_poses
from src.data.prepare import Recipe, prepare_subject
from src.data.rendered import people_subject
from src.data.split import split_frames
from src.data.subject import ClipSettings, Subject
from src.data.subject_split import training_clip
from src.media.video import read_video, write_frames
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.distance import DistanceToTraining, distance_to_training
from src.pose.extractors.base import FileExtractor
from src.pose.extractors.settings import FileSettings
from src.pose.formats import PoseFile, load_poses, save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.retarget import retarget
from src.poses import main as poses_main
from src.runs.run_folder import RunFolder
from src.showcase.look import _plot, own_folder
from tests.conftest import run_settings

SMALL = ("data.resolution=64", "data.num_frames=8", "data.num_test_frames=24")
FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=2", "data.num_test_frames=1")
BLINK = "poses=conf/pose_script/blink_right.yaml"


@pytest.fixture
def show(look, tmp_path):
    return lambda *overrides: look(*SMALL, f"output={tmp_path / 'out'}", *overrides)


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A finished run of people_001 with the toy model."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train("subject=people_001", *FAST, "data.num_frames=6", f"run_dir={folder}", "sample_after_train=false")
    return folder


def people(name: str):
    return people_subject(name, resolution=64)


def test_show_compares_each_pose_with_the_training_frames(show, tmp_path):
    summary = show("poses=people_002", "subject=people_001")
    subject, driver = people("people_001"), people("people_002")
    chosen = list(split_frames(len(subject), num_train=8, num_test=24).train)
    fitted = retarget(driver.poses, subject.poses[chosen], "bones")
    near = distance_to_training(fitted, subject.poses[chosen])
    assert summary["far_frames"] == near.far and summary["threshold"] == near.threshold
    np.testing.assert_allclose(summary["distance"], near.distance)
    assert set(summary["nearest_training_frame"]) <= set(chosen)
    assert json.loads((tmp_path / "out/poses.json").read_text()) == summary
    assert len(read_video(tmp_path / "out/poses.mp4").frames) == len(driver)
    np.testing.assert_array_equal(load_poses(tmp_path / "out/poses.npz").xy, fitted.xy)
    assert read_video(tmp_path / "out/poses.mp4").frames.shape[2] > 3 * 64
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"distance.png", "contact_sheet.png"}


def test_a_title_that_names_many_far_frames_fits_the_plot(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    widths = []

    def measured(figure: Figure, path: Path, **_) -> None:
        figure.canvas.draw()
        title = figure.axes[0].title.get_window_extent()
        widths.append((title.x0 / figure.bbox.width, title.x1 / figure.bbox.width))
        path.touch()

    monkeypatch.setattr(Figure, "savefig", measured)
    distance = DistanceToTraining(np.ones(400), np.zeros(400, int), 0.5, list(range(0, 400, 3)))
    _plot(distance, SimpleNamespace(fps=10.0), tmp_path / "distance.png")
    assert len(widths) == 1 and 0 < widths[0][0] < widths[0][1] < 1


def test_show_without_a_subject_draws_the_poses_and_measures_nothing(show, tmp_path):
    save_poses(tmp_path / "poses.npz", people("people_003").poses[:5], fps=12)
    summary = show(f"poses={tmp_path / 'poses.npz'}")
    assert (summary["frames"], summary["fps"]) == (5, 12) and "distance" not in summary
    assert not (tmp_path / "out/distance.png").exists()


def test_a_look_takes_away_what_another_left_and_never_its_place(call_main, tmp_path):
    seen = np.ones((2, NUM_KEYPOINTS), bool)
    poses = [PoseSequence(np.full((*seen.shape, 2), at, np.float32), seen, seen) for at in (0.25, 0.75)]
    for name, some in zip("ab", poses, strict=True):
        save_poses(tmp_path / name / "clip.npz", some, fps=12)
    folder = tmp_path / "outputs/poses"
    assert call_main(poses_main, "show", *SMALL, "poses=a/clip.npz") == (0, "")
    for name in ("distance.png", "mine.txt"):
        (folder / "clip" / name).touch()
    assert call_main(poses_main, "show", *SMALL, "poses=./a/clip.npz") == (0, "")
    assert not (folder / "clip/distance.png").exists() and (folder / "clip/mine.txt").exists()
    assert call_main(poses_main, "show", *SMALL, "poses=b/clip.npz") == (0, "")
    assert own_folder("b/clip.npz").name == "clip-2", "the same again"
    assert sorted(path.name for path in folder.iterdir()) == ["clip", "clip-2"]
    for name, some in zip(("clip", "clip-2"), poses, strict=True):
        np.testing.assert_array_equal(load_poses(folder / name / "poses.npz").xy, some.xy)


@pytest.mark.parametrize("name", ["UP.NPZ", "UP.Json", "Folder"])
def test_keypoints_are_known_by_suffixes_in_any_case(call_main, tmp_path, name):
    _, poses = render_clip(sample_identity(3), "talk", 2, 64, 3)
    written = tmp_path / f"poses{Path(name).suffix.lower()}"
    save_poses(written, poses)
    written.rename(tmp_path / name)
    for file in (tmp_path / name).glob("*"):
        file.rename(file.with_suffix(".JSON"))
    assert call_main(poses_main, "show", f"poses={name}", *SMALL, "output=out") == (0, "")
    assert len(load_poses(tmp_path / "out/poses.npz")) == 2


def test_a_script_is_known_by_its_suffix_in_any_case(tmp_path):
    _, poses = render_clip(sample_identity(3), "talk", 2, 64, 3)
    (tmp_path / "Z.YAML").write_text("frame: 0\nframes: 3\nedits: [{edit: sway, keys: 1}]\n")
    settings = PoseSourceSettings(poses=str(tmp_path / "Z.YAML"), pose=FileSettings(kind="file"))
    assert len(target_poses(settings, size=(64, 64), fps=10, training=poses, clip=None).poses) == 3


@pytest.mark.parametrize(
    ("poses", "given", "said"),
    [
        ("up.npz", ["data.fps=5", "pose.person=left"], "data.fps=5.0, pose.person=left"),
        ("up.json", ["data.crop=center", "pose.person=left"], "data.crop=center"),
        ("me", ["data.fps=5", "data.aspect=9:16", "data.max_frames=1"], "data.fps=5.0, data.aspect=9:16"),
        ("me", ["data.start=1", "pose.person=left"], "pose.person=left"),
        ("me", ["data.crop=center", "pose.person=left"], "data.crop=center, pose.person=left"),
        ("clip", ["data.fps=5", "data.aspect=square", "data.crop=center"], None),
    ],
)
def test_what_does_nothing_for_poses_of_a_kind_is_said(look, tmp_path, caplog, poses, given, said):
    prepared(tmp_path / "data", 3)
    keypoints = load_poses(tmp_path / "data/keypoints.npz")
    for name in ("up.npz", "up.json"):
        save_poses(tmp_path / name, keypoints, size=(64, 64))
    write_frames(tmp_path / "clip", read_video(tmp_path / "data/frames").frames)
    source = poses if poses == "me" else tmp_path / poses
    root, out = f"data.root={tmp_path / 'data'}", f"output={tmp_path / 'out'}"
    look(f"poses={source}", root, "data.resolution=64", out, "pose=file", f"pose.path={tmp_path / 'up.npz'}", *given)
    told = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert [text.split(" on ")[0] for text in told] == ([f"{said}: no effect"] if said else [])


def test_frames_with_a_file_of_json_beside_them_are_frames(call_main, tmp_path):
    frames, poses = render_clip(sample_identity(3), "talk", 2, 64, 3)
    write_frames(tmp_path / "frames", frames)
    (tmp_path / "frames/meta.json").write_text('{"fps": 10}')
    save_poses(tmp_path / "keypoints.npz", poses)
    options = ("pose=file", "pose.path=keypoints.npz", *SMALL, "output=out")
    assert call_main(poses_main, "show", "poses=frames", *options) == (0, "")
    assert len(load_poses(tmp_path / "out/poses.npz")) == 2


def check_padded(fitted: PoseSequence, poses: PoseSequence) -> None:
    """Keypoints of a picture of 1920x1080 lie in a square frame as if black bars had been put above and below it."""
    expected = poses.xy * (1, 1080 / 1920) + (0, (1 - 1080 / 1920) / 2)
    assert np.array_equal(fitted.mask, poses.mask)
    np.testing.assert_allclose(fitted.xy[poses.mask], expected[poses.mask], atol=1e-5)


@pytest.mark.parametrize("name", ["wide.json", "wide.npz"])
def test_keypoints_of_another_shape_are_fitted_and_not_squashed(call_main, tmp_path, name):
    poses = people("people_003").poses[:5]
    save_poses(tmp_path / name, poses, fps=12, size=(1080, 1920))
    call = ("show", f"poses={name}", *SMALL)
    assert call_main(poses_main, *call, "subject=people_001", "output=out") == (0, "")
    check_padded(load_poses(tmp_path / "out/poses.npz"), poses)
    assert PoseFile(tmp_path / "out/poses.npz").size() == (64, 64)
    assert call_main(poses_main, *call, "output=alone") == (0, "")
    assert PoseFile(tmp_path / "alone/poses.npz").size() == (64, 128), "the shape of their own picture, near enough"
    status, stderr = call_main(poses_main, *call, "poses_size=[64,64]", "output=not")
    assert status == 2 and "poses_size=[64, 64]: poses=" in stderr and stderr.count("\n") == 1


def test_keypoints_of_another_shape_are_retargeted_in_one_unit(show, tmp_path):
    """Stretched as their picture's shape asks for, and then as a video's are: bones keep their lengths."""
    own = people("people_001").poses
    upright = PoseSequence((own.xy - (0.25, 0)) / (0.5, 1), own.confidence, own.mask)
    save_poses(tmp_path / "upright.npz", upright, size=(128, 64))
    show(f"poses={tmp_path / 'upright.npz'}", "subject=people_001", "retarget=bones")
    fitted = load_poses(tmp_path / "out/poses.npz")
    show("poses=people_001", "subject=people_001", "retarget=bones")
    same = load_poses(tmp_path / "out/poses.npz")
    np.testing.assert_allclose(fitted.xy[fitted.mask], same.xy[same.mask], atol=1e-4)


def test_pixels_of_openpose_itself_need_the_size_of_their_picture(call_main, tmp_path):
    poses = people("people_003").poses[:3]
    save_poses(tmp_path / "written", poses, size=(1080, 1920))
    for file in (tmp_path / "written").iterdir():
        document = json.loads(file.read_text())
        file.write_text(json.dumps({"version": 1.3, "people": document["people"]}))
    call = ("show", "poses=written", "subject=people_001", *SMALL, "output=out")
    status, stderr = call_main(poses_main, *call)
    assert status == 2 and "beside poses=, as poses_size=[1080,1920]" in stderr and stderr.count("\n") == 1
    assert call_main(poses_main, *call, "poses_size=[1080,1920]") == (0, "")
    check_padded(load_poses(tmp_path / "out/poses.npz"), poses)
    for given, said in (("[0,1920]", "poses_size=0 must be at least 1"), ("1080", "poses_size=1080")):
        status, stderr = call_main(poses_main, *call, f"poses_size={given}")
        assert status == 2 and said in stderr and stderr.count("\n") == 1
    status, stderr = call_main(poses_main, "show", "poses=people_002", *SMALL, "poses_size=[64,64]")
    assert status == 2 and "poses_size=[64, 64] goes with keypoints" in stderr


@pytest.mark.parametrize("source", ["people_003", "me", "keypoints.npz", "conf/pose_script/blink_right.yaml"])
def test_start_and_max_frames_cut_poses_from_anywhere(call_main, tmp_path, source):
    driver = people("people_003")
    write_frames(tmp_path / "frames", driver.frames)
    save_poses(tmp_path / "keypoints.npz", driver.poses, fps=10)
    made = ClipSettings(resolution=64)
    extractor = FileExtractor(path=tmp_path / "keypoints.npz")
    prepare_subject(tmp_path / "frames", Recipe(clip=made, extractor=extractor, root=tmp_path / "data"), name="me")
    call = ("show", f"poses={source}", "subject=people_001", *SMALL, "retarget=none")
    assert call_main(poses_main, *call, "output=whole") == (0, "")
    assert call_main(poses_main, *call, "data.start=2", "data.max_frames=3", "output=part") == (0, "")
    whole, part = (load_poses(tmp_path / name / "poses.npz") for name in ("whole", "part"))
    assert np.array_equal(part.xy, whole.xy[2:5]) and np.array_equal(part.mask, whole.mask[2:5])
    shown = [read_video(tmp_path / name / "poses.mp4").frames.astype(int) for name in ("whole", "part")]
    assert len(shown[1]) == 3 and np.abs(shown[1] - shown[0][2:5]).mean() < 2, "frames beside go with them"
    status, stderr = call_main(poses_main, *call, "data.start=500", "output=none")
    assert status == 2 and f"data.start=500: the last of poses={source} is {len(whole) - 1}, counted" in stderr
    assert stderr.count("\n") == 1


def test_own_poses_are_kept_and_others_are_fitted(show, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    show("poses=people_001", "subject=people_001")
    assert "retarget=none" in caplog.text
    np.testing.assert_array_equal(load_poses(tmp_path / "out/poses.npz").xy, people("people_001").poses.xy)
    caplog.clear()
    show("poses=people_002", "subject=people_001", "retarget=none")
    assert "retarget=none (as given)" in caplog.text


def prepared(folder: Path, person: int, **settings) -> Subject:
    """Somebody's frames, prepared as `me` with the folder for `data.root`."""
    frames, poses = render_clip(sample_identity(person), "talk", 12, 64, person)
    write_frames(folder / "frames", frames)
    save_poses(folder / "keypoints.npz", poses, fps=10)
    made = ClipSettings(resolution=64, **settings)
    extractor = FileExtractor(path=folder / "keypoints.npz")
    return prepare_subject(folder / "frames", Recipe(clip=made, extractor=extractor, root=folder), name="me")


@pytest.mark.parametrize("known", [True, False])
def test_whose_poses_they_are_is_told_by_the_clip_and_not_by_its_name(show, tmp_path, caplog, known):
    """A run of one machine's `me`, and another's; of runs of before, which do not say of which clip they are, too."""
    caplog.set_level(logging.INFO)
    mine = training_clip(prepared(tmp_path / "A", 1), [0, 3, 5, 8])
    run = RunFolder(tmp_path / "run")
    run.save_settings(run_settings("subject=me"))
    run.save_training(mine)
    assert run.training().source == mine.source
    if not known:
        (run.path / "training/clip.json").write_text(json.dumps({"prompt": mine.prompt, "fps": mine.fps}))
    prepared(tmp_path / "B", 2)
    for root, whose in (("A", "none (the poses are not known to be another's)"), ("B", "bones (the poses are another")):
        caplog.clear()
        show("poses=me", f"run={run.path}", f"data.root={tmp_path / root}", "data.max_frames=2")
        assert f"retarget={whose}" in caplog.text
    if known:
        prepared(tmp_path / "C", 1, crop="center")
        caplog.clear()
        show("poses=me", f"run={run.path}", f"data.root={tmp_path / 'C'}", "data.start=10")
        assert "retarget=none" in caplog.text, (
            "the same clip, prepared in another way, and a part that was not trained on"
        )


def test_smoothing_is_optional(show, tmp_path):
    show("poses=people_001")
    rough = load_poses(tmp_path / "out/poses.npz")
    show("poses=people_001", "smooth=one_euro")
    calm = load_poses(tmp_path / "out/poses.npz")
    both = rough.mask & calm.mask
    jerk = [np.abs(np.diff(p.xy, 2, axis=0))[both[2:]].mean() for p in (rough, calm)]
    assert jerk[1] < jerk[0]


def test_show_compares_with_the_training_frames_of_a_run(run, show):
    clip = RunFolder(run).training()
    summary = show("poses=people_001", f"run={run}")
    near = distance_to_training(people("people_001").poses, clip.poses)
    assert summary["subject"] == "people_001" and summary["far_frames"] == near.far
    assert summary["nearest_training_frame"] == near.nearest.tolist() and max(near.nearest) < len(clip.poses)
    with pytest.raises(UserError, match="both say who the poses are for"):
        show("poses=people_001", "subject=people_001", f"run={run}")


def test_varied_poses_are_generated_from_several_references(run, sample, tmp_path):
    clip = RunFolder(run).training()
    save_poses(tmp_path / "varied.npz", clip.poses[[0] * 8 + [5] * 8])
    several = ("method.references=per_segment", "method.min_segment_frames=4", "sampling.num_steps=1")
    sample(f"run={run}", f"poses={tmp_path / 'varied.npz'}", *several)
    record = json.loads((run / "samples/varied/reference.json").read_text())
    assert record["segments"] == [
        {"frames": [0, 7], "reference_frame": 0},
        {"frames": [8, 15], "reference_frame": 5},
    ]
    assert read_video(run / "samples/varied/frames").frames.shape[0] == 16


def test_a_script_is_performed_and_far_frames_are_named(run, sample, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    summary = sample(f"run={run}", BLINK, "pose_script.frame=2", "sampling.num_steps=1")
    assert summary["sampling"]["frames"] == 8
    generated = load_poses(run / "samples/blink_right/poses.npz")
    clip = RunFolder(run).training()
    np.testing.assert_array_equal(generated.xy[0], clip.poses.xy[2])
    assert "far from" in caplog.text
    caplog.clear()
    moved = clip.poses[:2].transformed((1, 1), (0.4, 0))
    save_poses(tmp_path / "moved.npz", moved)
    sample(f"run={run}", f"poses={tmp_path / 'moved.npz'}", "sampling.num_steps=1")
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("2 of 2 target poses are far" in text and "frames 0-1" in text for text in warnings)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([BLINK], "edits a pose of a subject: give subject="),
        (["poses=people_001", "retarget=bones"], "needs the subject whose body"),
        (["poses=people_001", "subject=people_002", "retarget=stretch"], "retarget=stretch is unknown"),
        (["poses=people_001", "pose_script.frame=1"], "needs a pose script"),
        (["poses=nowhere.yaml", "subject=people_001"], "no pose script at nowhere.yaml"),
        (["poses=nowhere.mp4"], "no video at nowhere.mp4"),
        ([BLINK, "subject=people_001", "pose_script.frame=8"], "choose pose_script.frame from 0 to 7"),
        (["poses=people_001", "smooth.min_cutoff=-1"], "smooth.min_cutoff=-1.0 must be above 0"),
    ],
)
def test_bad_input_is_refused(overrides, message, show):
    with pytest.raises(UserError, match=message):
        show(*overrides)


def test_poses_without_anyone_are_refused(show, tmp_path):
    poses = people("people_001").poses[:3]
    save_poses(tmp_path / "empty.npz", type(poses)(poses.xy, poses.confidence, np.zeros_like(poses.mask)))
    with pytest.raises(UserError, match="shows no person in any frame"):
        show(f"poses={tmp_path / 'empty.npz'}")


def test_a_script_that_takes_the_person_out_of_the_frame_is_told(show, tmp_path, caplog):
    def script(keys: str) -> str:
        edit = f"{{edit: translate, x: 2, y: 0, easing: linear, keys: {keys}}}"
        (tmp_path / "away.yaml").write_text(f"frames: 3\nframe: 0\nedits: [{edit}]\n")
        return f"poses={tmp_path / 'away.yaml'}"

    show(script("{0: 0, 2: 1}"), "subject=people_001")
    assert "away.yaml: the person is wholly outside the frame in frames 1-2" in caplog.text
    with pytest.raises(UserError, match="away.yaml have the person wholly outside the frame throughout"):
        show(script("1"), "subject=people_001")


@pytest.mark.parametrize("whose", [[], ["subject=me"]])
def test_a_look_takes_a_subject_of_fewer_pixels_as_it_is(call_main, tmp_path, whose):
    """At the 512 pixels that it has by default."""
    prepared(tmp_path / "data", 3)
    given = ("data.num_frames=4", "data.num_test_frames=2", "output=out", "poses=me", *whose)
    assert call_main(poses_main, "show", *given) == (0, "")
    assert (tmp_path / "out/distance.png").exists() == bool(whose)


def test_a_single_picture_is_told_what_was_expected(call_main, tmp_path):
    write_frames(tmp_path / "frames", np.zeros((1, 16, 16, 3), np.uint8))
    (tmp_path / "frames/00000.png").rename(tmp_path / "pose.png")
    status, told = call_main(poses_main, "show", "poses=pose.png", "pose=mini")
    assert status == 2 and told.startswith("error: pose.png is a single picture: expected a video file such as mp4")


def test_the_command_is_named_where_it_is_missing(run_module):
    done = run_module("src.poses", "poses=people_001")
    assert done.returncode == 2
    assert done.stderr == "error: the command is show, followed by key=value ..., not poses=people_001\n"
