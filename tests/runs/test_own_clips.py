"""What people film: a driver's sound and rhythm, and frames that are not square."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.score import main as score_main
from eval.scoring.clips import ClipPaths
from eval.scoring.reading import read_clip
from src.data.pose_sources import PoseSourceSettings, fit_driver, target_poses
from src.data.prepare import Recipe, prepare_subject
from src.data.rendered import people_subject
from src.data.resolve import followed, without_effect
from src.data.settings import DataSettings
from src.data.subject import load_subject
from src.media.video import read_video, write_video
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.extractors.settings import FileSettings
from src.pose.formats import PoseFile, load_poses, save_poses
from src.pose.keypoints import PoseSequence
from src.sample import main as sample_main
from src.train import main as train_main
from tests.conftest import CLIPS
from tests.media.test_sound import beeps, streams, write_with_beeps

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_frames=4")


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A finished run of people_001 with the toy model."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train("subject=people_001", *FAST, "data.num_test_frames=1", f"run_dir={folder}", "sample_after_train=false")
    return folder


def test_a_precision_that_the_runs_weights_cannot_go_with_is_refused_at_once(run, call_main, tmp_path):
    status, stderr = call_main(sample_main, f"run={run}", "poses=people_002", "trainer.precision=bf16-true")
    said = "error: model.dtype=float32 cannot go with trainer.precision=bf16-true: "
    assert status == 2 and stderr.startswith(said) and stderr.count("\n") == 1
    assert not list((run / "samples").glob("*")), "nothing is written"


def test_a_device_that_is_not_here_is_told_before_a_video_is_read(run, call_main, tmp_path):
    """Whose poses may take an hour, and whose models minutes."""
    (tmp_path / "broken.mp4").write_text("no video")
    commands = {train_main: ("subject=broken.mp4", "model=tiny"), sample_main: (f"run={run}", "poses=broken.mp4")}
    for main, given in commands.items():
        status, stderr = call_main(main, *given, "trainer.accelerator=cpu", "trainer.devices=[0]")
        assert status == 2 and stderr.startswith("error: trainer.accelerator=cpu, devices=[0], precision="), stderr
        assert "cannot be had here" in stderr and stderr.count("\n") == 1


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
    assert summary["drift"]["colour"]["mean"] > 0 and "drift.png" in summary["files"]
    assert summary["sound_of"] == ("driver.mp4" if audio == "driver" else None) and summary["fps"] == 10


def test_keypoints_of_another_shape_are_filmed_as_a_driver_of_that_shape_is(run, call_main, tmp_path):
    _, poses = render_clip(sample_identity(3), "talk", 3, 64, 3)
    save_poses(tmp_path / "wide.npz", poses)
    options = (f"run={run}", "poses=wide.npz", "poses_size=[360,640]", "sampling.num_steps=1", "output=out")
    assert call_main(sample_main, *options) == (0, "")
    filmed, expected = load_poses(tmp_path / "out/poses.npz"), poses.xy * (1, 360 / 640) + (0, (1 - 360 / 640) / 2)
    np.testing.assert_allclose(filmed.xy[poses.mask], expected[poses.mask], atol=1e-5)
    assert PoseFile(tmp_path / "out/poses.npz").size() == read_video(tmp_path / "out/frames").frames.shape[1:3]


def test_a_part_of_a_known_driver_has_its_own_frames_alone(tmp_path):
    settings = PoseSourceSettings(
        poses="people_002", data=DataSettings(start=5, max_frames=4), pose=FileSettings(kind="file")
    )
    whole = people_subject("people_002", resolution=64)
    for size in ((64, 64), (128, 64)):
        target = target_poses(settings, size=size, fps=10, training=None, clip=None)
        assert len(target.poses) == 4 and target.beside is not None
        frames, poses = fit_driver(whole, size)
        np.testing.assert_array_equal(target.poses.xy, poses.xy[5:9])
        np.testing.assert_array_equal(np.stack(list(target.beside.frames)), np.stack([frames[i] for i in range(5, 9)]))
        assert (target.driver is None) == (size != (64, 64)) and len(target.driver or target.poses) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), None),
        (("data.fps=10", "data.aspect=square", "data.max_frames=56"), None),
        (
            ("data.start=2", "data.max_frames=9", "data.fps=5", "data.aspect=1:2", "data.crop=pad"),
            "data.start=2, data.max_frames=9, data.fps=5.0, data.aspect=1:2, data.crop=pad: no effect on the subject "
            "people_001, rendered people are as they are",
        ),
    ],
)
def test_what_a_rendered_person_does_not_follow_is_said(train, tmp_path, caplog, options, said):
    call = (
        "subject=people_001",
        *FAST,
        "data.resolution=64",
        "sample_after_train=false",
        f"run_dir={tmp_path / 'run'}",
    )
    train(*call, "data.num_test_frames=1", *options)
    told = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert told == ([] if said is None else [said])


def test_what_a_prepared_subject_does_not_follow_is_said(tmp_path, caplog):
    frames, poses = render_clip(sample_identity(3), "talk", 12, 64, 3)
    write_video(tmp_path / "clip.mp4", frames, 10)
    save_poses(tmp_path / "clip.npz", poses)
    extractor = FileSettings(kind="file", path=str(tmp_path / "clip.npz")).build()
    made = DataSettings(resolution=64, crop="pad")
    recipe = Recipe(clip=made.clip, root=tmp_path / "data", extractor=extractor)
    subject = prepare_subject(tmp_path / "clip.mp4", recipe, name="clip")
    for data in (made, DataSettings(), DataSettings(crop="pad", aspect="source", fps=10, max_frames=20)):
        assert without_effect(data, followed(data, subject), "it") is None
    data = DataSettings(crop="center", start=3, max_frames=6)
    said = without_effect(data, followed(data, subject), "it")
    assert said == "data.start=3, data.max_frames=6, data.crop=center: no effect on it"
    # As a driver: preparing it again would not make the resolution count, which is the subject's.
    advice = ": it was prepared before; name its video, or prepare it again with python -m src.prepare"
    small = replace(made, resolution=32, root=str(tmp_path / "data"))
    for data, crop, why in ((small, "", ""), (replace(small, crop="center"), "data.crop=center, ", advice)):
        settings = PoseSourceSettings(poses="clip", data=data, pose=FileSettings(kind="file"))
        target_poses(settings, size=(64, 64), fps=10, training=None, clip=None)
        known = f"{crop}data.resolution=32: no effect on poses=clip, whose poses are known already"
        assert caplog.messages.pop() == known + why


def test_a_clip_of_ones_own_keeps_its_shape_and_can_be_scored(call_main, tmp_path):
    """Trained on, sampled and scored at another size, by the command line as it is without any word of the shape."""
    frames, poses = render_clip(sample_identity(3), "talk", 12, 64, 3)
    write_video(tmp_path / "clip.mp4", np.pad(frames, ((0, 0), (32, 32), (0, 0), (0, 0)), "edge"), 10)
    poses = PoseSequence(poses.xy * (1, 0.5) + (0, 0.25), poses.confidence, poses.mask)
    save_poses(tmp_path / "clip.npz", poses, fps=10)
    pose = ("pose=file", "pose.path=clip.npz")
    assert call_main(train_main, "subject=clip.mp4", *pose, *FAST, "data.num_test_frames=4", "run_dir=run") == (0, "")
    assert load_subject("clip", tmp_path / "data").size == (128, 64)
    assert call_main(sample_main, "run=run", "poses=clip.mp4", *pose, "output=out") == (0, "")
    assert read_video(tmp_path / "out/generated.mp4").frames.shape == (12, 128, 64, 3)
    assert read_video(tmp_path / "run/frames").frames.shape == (4, 128, 64, 3)
    scored = ("metrics=[ssim,psnr]", "device=cpu", "protocol.resolution=32", "protocol.resize=bicubic")
    status, stderr = call_main(score_main, "run=run", "output=scores.json", *scored)
    assert status == 0, stderr
    metrics = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    assert all(np.isfinite(metrics[name]["value"]) for name in ("ssim", "psnr"))


def test_clips_of_data_sets_are_square_unless_another_shape_is_given():
    assert (DataSettings().clip.aspect, DataSettings().square_clip.aspect) == ("source", "square")
    for given in ("4:5", "square", "source"):
        data = DataSettings(aspect=given)
        assert data.clip.aspect == data.square_clip.aspect == given


@pytest.mark.skipif(not CLIPS.exists(), reason="the shared clips are not there")
def test_an_upright_clip_from_file_to_video(train, sample, tmp_path):
    """Every room sees frames of 128 x 64: poses, drawings, latents, edits, sheets, scores."""
    pytest.importorskip("mediapipe")
    video = CLIPS / "dance_clip_1.mp4"
    data = (f"data.root={tmp_path / 'data'}", "data.resolution=64", "data.max_frames=10")
    out = tmp_path / "run"
    train(f"subject={video}", "pose=mediapipe", *data, *FAST, "data.num_test_frames=4", f"run_dir={out}")
    subject = load_subject("dance_clip_1", tmp_path / "data")
    assert subject.size == (128, 64)
    ankles = [10, 13]
    assert subject.poses.mask[:, ankles].all(), "the feet are cut off"
    for name in ("training", "held_out", "."):
        assert read_video(out / name / "frames").frames.shape[1:] == (128, 64, 3)
    assert json.loads((out / "reference.json").read_text())["edits"] > 0
    summary = sample(
        *(f"run={out}", f"poses={video}", "pose=mediapipe", f"data.root={tmp_path / 'data'}", "sampling.num_steps=1"),
        *("data.start=100", "data.max_frames=6", f"output={tmp_path / 'out'}"),
    )
    assert read_video(tmp_path / "out/generated.mp4").frames.shape == (6, 128, 64, 3)
    assert streams(tmp_path / "out/generated.mp4") == pytest.approx({"video": 0.25, "audio": 0.25}, abs=0.05)
    assert summary["fps"] == 24
    assert set(summary["drift"]) == {"colour", "likeness"} and (tmp_path / "out/drift.png").is_file()
    paths = ClipPaths("dance", out / "frames", out / "held_out/frames", None, None)
    scored = read_clip(paths)
    assert scored.generated.shape == scored.real.shape == (4, 128, 64, 3)


def test_a_driver_of_another_shape_is_fitted_and_not_stretched():
    driver = people_subject("people_002", resolution=64)
    frames, poses = fit_driver(driver, (128, 64))
    assert frames.shape == (len(driver), 128, 64, 3)
    pixels, before = poses.xy * (64, 128), driver.poses.xy * 64
    seen = poses.mask & driver.poses.mask
    np.testing.assert_allclose((pixels - before)[seen], np.broadcast_to([0, 32], before[seen].shape), atol=1e-3)
    np.testing.assert_array_equal(np.stack(list(frames))[:, 32:96], driver.frames)


def test_a_prepared_driver_of_another_shape_is_fitted_whole(to_the_edges, tmp_path):
    """Shrunk by itself first, to a longer side of multiples of 64, it would lose its hands at both sides."""
    write_video(tmp_path / "tall.mp4", np.full((8, 192, 128, 3), 90, np.uint8), 10)
    save_poses(tmp_path / "tall.npz", to_the_edges)
    pose = FileSettings(kind="file", path=str(tmp_path / "tall.npz"))
    data = DataSettings(root=str(tmp_path / "data"), resolution=128, num_test_frames=1)
    recipe = Recipe(clip=data.clip, root=data.root, extractor=pose.build())
    assert prepare_subject(tmp_path / "tall.mp4", recipe, name="tall").size == (192, 128)
    settings = PoseSourceSettings(poses="tall", data=data, pose=pose)
    fitted = target_poses(settings, size=(64, 64), fps=10, training=None, clip=None)
    assert np.array_equal(fitted.poses.mask, to_the_edges.mask)
    frames = np.stack(list(fitted.beside.frames))
    assert frames.shape[1:] == (64, 64, 3) and not frames[:, :, [0, -1]].any() and frames[:, [0, -1], 32].all()
    # The same shape as the subject's stays what training has made of it.
    own = target_poses(settings, size=(128, 64), fps=10, training=None, clip=None)
    assert own.driver is not None and own.poses.mask.sum() < to_the_edges.mask.sum()


def test_bones_keep_their_lengths_in_upright_frames(tmp_path):
    """Own poses, drawn in frames twice as high as wide, fitted onto themselves stay where they are."""
    poses = people_subject("people_001", resolution=64).poses
    upright = PoseSequence(poses.xy * (1, 0.5) + (0, 0.25), poses.confidence, poses.mask)
    other = people_subject("people_002", resolution=64).poses
    fitted = {}
    for name, training, size in (("upright", upright, (128, 64)), ("square", poses, (64, 64))):
        moved = (
            other if size == (64, 64) else PoseSequence(other.xy * (1, 0.5) + (0, 0.25), other.confidence, other.mask)
        )
        save_poses(tmp_path / f"{name}.npz", moved)
        settings = PoseSourceSettings(
            poses=str(tmp_path / f"{name}.npz"), retarget="bones", pose=FileSettings(kind="file")
        )
        fitted[name] = target_poses(settings, size=size, fps=10, training=training[:8], clip=None).poses
    both = fitted["square"].mask & fitted["upright"].mask
    pixels = [fitted["upright"].xy * (64, 128) - (0, 32), fitted["square"].xy * 64]
    np.testing.assert_allclose(pixels[0][both], pixels[1][both], atol=0.05)


@pytest.fixture
def to_the_edges() -> PoseSequence:
    """Somebody whose hands and feet reach the edges of the frame."""
    own = people_subject("people_007", resolution=64).poses[:8]
    low, high = own.xy[own.mask].min(0), own.xy[own.mask].max(0)
    return PoseSequence(0.02 + 0.96 * (own.xy - low) / (high - low), own.confidence, own.mask)


def onto_themselves(poses: PoseSequence, size: tuple[int, int], source: Path, **settings) -> PoseSequence:
    source = PoseSourceSettings(poses=str(source), pose=FileSettings(kind="file"), **settings)
    return target_poses(source, size=size, fps=10, training=poses, clip=None).poses


@pytest.mark.parametrize("size", [(896, 512), (512, 896)])
@pytest.mark.parametrize("mode", ["scale", "bones"])
def test_retargeting_loses_nothing_in_frames_that_are_not_square(to_the_edges, tmp_path, size, mode):
    save_poses(tmp_path / "own.npz", to_the_edges)
    same = onto_themselves(to_the_edges, size, tmp_path / "own.npz", retarget=mode)
    assert np.array_equal(same.mask, to_the_edges.mask)
    np.testing.assert_allclose(same.xy[same.mask], to_the_edges.xy[same.mask], atol=1e-4)


@pytest.mark.parametrize("size", [(896, 512), (512, 896)])
def test_scripts_move_by_shares_of_the_frame_and_zoom_about_its_middle(to_the_edges, tmp_path, size):
    script = "frame: 3\nframes: 1\nedits: [{edit: translate, x: 0.1, y: -0.1, keys: 1}, {edit: zoom, keys: 0.5}]\n"
    (tmp_path / "edits.yaml").write_text(script)
    edited = onto_themselves(to_the_edges, size, tmp_path / "edits.yaml")
    np.testing.assert_allclose(edited.xy[0], 0.5 + 0.5 * (to_the_edges.xy[3] + (0.1, -0.1) - 0.5), atol=1e-5)
