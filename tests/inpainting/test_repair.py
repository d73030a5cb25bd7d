"""Properties of a repair: bad frames are made anew, all others stay as they are."""

import json
import tracemalloc
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.crop import CropBox
from src.data.prepare import Recipe, prepare_subject
from src.data.subject import ClipSettings, load_subject
from src.inpainting.blending import background, blend_in_time, paste_feathered
from src.inpainting.repaired_clip import RepairedFrames, frames_at, write_repaired
from src.inpainting.segments import Segment, parse_segments, segment_poses
from src.media.pictures import read_image
from src.media.video import VideoReader, read_video, write_frames
from src.pose.extractors.base import FileExtractor
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence
from src.repair import main
from src.runs.run_folder import RunFolder
from tests.media.test_reencode import noise, sound_packets, with_sound
from tests.media.test_video import write_at

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=2", "sampling.num_steps=2", "data.num_frames=3", "pose=file")


@pytest.fixture
def clip(people_clip, tmp_path):
    """Twelve frames with sound, three of them spoilt, and their poses."""
    frames, poses = people_clip
    spoilt = frames.copy()
    spoilt[5:8] = 255 - spoilt[5:8]
    save_poses(tmp_path / "poses.npz", poses)
    return with_sound(tmp_path / "clip.mp4", spoilt, 10), tmp_path


@pytest.fixture
def mended(clip, repair):
    video, folder = clip
    paths = (f"data.root={folder / 'data'}", f"pose.path={folder / 'poses.npz'}", f"run_dir={folder / 'run'}")

    def run(*overrides, video=video):
        return repair(f"video={video}", *FAST, *paths, "data.resolution=64", *overrides)

    return run


def test_the_sheet_of_a_long_segment_holds_no_more_frames_than_it_shows(tmp_path, monkeypatch):
    held = []

    def counted(reader, wanted):
        held.append(len(wanted))
        return frames_at(reader, wanted)

    write_frames(tmp_path / "long", np.zeros((40, 16, 16, 3), np.uint8))
    monkeypatch.setattr("src.inpainting.repaired_clip.frames_at", counted)
    levels = {f: np.full((16, 16, 3), 5 * f, np.uint8) for f in range(1, 40)}
    write_repaired(VideoReader(tmp_path / "long"), levels, tmp_path / "out", 1)
    assert held == [10]
    sheet = read_image(tmp_path / "out/contact_sheet.png")
    assert sheet[-8, -10, 0] == 5 * 39 and sheet[8, -10, 0] == 0


@pytest.mark.parametrize("source", ["own", "interpolate"])
def test_only_the_segment_changes(source, clip, mended):
    video, folder = clip
    summary = mended("segments=[[5,7]]", f"segment_poses={source}")
    before, after = read_video(video), read_video(folder / "run/repaired.mp4")
    kept = [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert (after.frames[kept] == before.frames[kept]).all() and after.fps == before.fps
    lossless = read_video(folder / "run/frames").frames
    assert (lossless[kept] == before.frames[kept]).all()
    assert (lossless[5:8] != before.frames[5:8]).any((1, 2, 3)).all()
    # The toy model makes noise, whose colour yuv420p blurs; light stays.
    light = [frames[5:8] @ np.array([0.2126, 0.7152, 0.0722]) for frames in (after.frames, lossless)]
    assert np.abs(light[0] - light[1]).mean() < 2
    assert sound_packets(folder / "run/repaired.mp4") == sound_packets(video)
    assert not set(summary["training_frames"]) & {5, 6, 7} and len(summary["training_frames"]) == 3
    assert json.loads((folder / "run/summary.json").read_text())["segments"] == [[5, 7]]


def test_folders_of_images_and_segments_at_the_ends(clip, mended, people_clip):
    _, folder = clip
    write_frames(folder / "images", people_clip[0])
    mended("segments=[[10,11],[0,1]]", "segment_poses=interpolate", video=folder / "images")
    repaired = read_video(folder / "run/frames").frames
    assert (repaired[2:10] == people_clip[0][2:10]).all() and (repaired[:2] != people_clip[0][:2]).any()
    with pytest.raises(UserError, match=r"repair of other segments"):
        mended("segments=[[10,11]]", video=folder / "images")


def test_good_neighbours_are_read_in_one_pass_that_ends_with_the_last(people_clip, tmp_path, monkeypatch):
    frames = people_clip[0]
    write_frames(tmp_path / "images", frames)
    reader, read = VideoReader(tmp_path / "images"), []
    monkeypatch.setattr("src.media.video.read_image", lambda path: read.append(path.name) or read_image(path))
    found = frames_at(reader, {f for segment in parse_segments([[1, 2], [4, 5]], 12) for f in segment.beside})
    assert list(found) == [0, 3, 6] and (np.stack(list(found.values())) == frames[[0, 3, 6]]).all()
    assert read == [f"{number:05d}.png" for number in range(7)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["segments=[[5,12]]"], r"\[5,12\] is not in the clip: its frames are 0 to 11"),
        (["segments=[[7,5]]"], "is not in the clip"),
        (["segments=40"], "must be pairs"),
        (["segments=[]"], "names no bad frame"),
        (["segments=[[1,3],[4,5]]"], r"touch: join them into \[1,5\]"),
        (["segments=[[0,11]]"], "whole clip"),
        (["segments=[[0,9]]"], "data.num_frames=3"),
        (["segments=[[5,7]]", "segment_poses=guess"], "segment_poses=guess is unknown"),
        (["segments=[[5,7]]", "data.fps=5"], "data.fps=5.0: a repair keeps the whole clip"),
        (["segments=[[5,7]]", "crf=60"], "crf=60"),
        (["segments=[[5,7]]", "trainer.devices=[0]", "pose.path=x"], r"devices=\[0\], .* cannot be had here"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(overrides, message, clip, mended):
    with pytest.raises(UserError, match=message):
        mended(*overrides)
    assert not (clip[1] / "run").exists()


def test_a_good_frame_without_the_person_is_called_by_its_number_in_the_clip(clip, mended, people_clip, caplog):
    poses = people_clip[1]
    nobody_in_9 = replace(poses, mask=poses.mask & (np.arange(12) != 9)[:, None])
    save_poses(clip[1] / "poses.npz", nobody_in_9)
    with pytest.raises(UserError, match="in 8 of the 9 frames .* data.num_frames=9: use fewer, or another extractor$"):
        mended("segments=[[5,7]]", "data.num_frames=9")
    assert "the person is not seen in frame 9, which training leaves out" in caplog.text


def test_frames_at_changing_intervals_are_refused(call_main, tmp_path):
    """At the average rate they are as many, but others: the frames that are pasted over would be wrong ones."""
    write_at(tmp_path / "phone.mkv", noise(24), [*range(0, 400, 40), *range(400, 2080, 120)])
    reader = VideoReader(tmp_path / "phone.mkv")
    assert len(reader) == 24 and reader.repeats.max() > 1
    status, said = call_main(main, f"video={tmp_path / 'phone.mkv'}", "segments=[[5,7]]", "model=tiny", "pose=file")
    assert status == 2 and "shows its 24 frames at changing intervals" in said and "-vf fps=" in said


def test_interpolated_poses_move_in_straight_lines():
    xy = np.zeros((6, 128, 2), np.float32)
    xy[:, :, 0] = np.array([0.1, 0.2, 0.9, 0.9, 0.5, 0.6])[:, None]
    seen = np.ones((6, 128), bool)
    poses = PoseSequence(xy, seen, seen)
    filmed = segment_poses(poses, Segment(2, 3, 6), "interpolate")
    np.testing.assert_allclose(filmed.xy[:, 0, 0], [0.2, 0.3, 0.4, 0.5], atol=1e-6)
    held = segment_poses(poses, Segment(4, 5, 6), "interpolate")
    np.testing.assert_allclose(held.xy[:, 0, 0], [0.9, 0.9, 0.9], atol=1e-6)
    # A good frame in which nobody was found says nothing.
    seen[1] = False
    held = segment_poses(PoseSequence(xy, seen, seen), Segment(2, 3, 6), "interpolate")
    np.testing.assert_allclose(held.xy[:, 0, 0], 0.5, atol=1e-6)
    seen[4] = False
    with pytest.raises(UserError, match=r"no person is seen in the good frames 1, 4 beside the segment \[2,3\]: widen"):
        segment_poses(PoseSequence(xy, seen, seen), Segment(2, 3, 6), "interpolate")
    seen[3] = False
    with pytest.raises(UserError, match="no person is seen in frame 3: set segment_poses=interpolate"):
        segment_poses(PoseSequence(xy, seen, seen), Segment(2, 3, 6), "own")


def test_what_one_good_frame_alone_shows_is_there_up_to_the_middle_and_moves_with_its_neighbour():
    """Point 1, seen before, goes with point 0; point 2, seen after, with point 3, which stands still."""
    xy, seen = np.zeros((7, 128, 2), np.float32), np.zeros((7, 128), bool)
    xy[:, 0, 0] = np.linspace(0.1, 0.7, 7)
    xy[:, 1] = xy[:, 0] + (0, 0.1)
    xy[:, 2:4] = [[0.95, 0.5], [0.95, 0.6]]
    seen[:, [0, 3]] = True
    seen[:2, 1] = seen[5:, 2] = True
    filmed = segment_poses(PoseSequence(xy, seen, seen), Segment(2, 4, 7), "interpolate")
    assert filmed.mask[:, 1].tolist() == [True, True, True, False, False]
    assert filmed.mask[:, 2].tolist() == [False, False, True, True, True]
    np.testing.assert_allclose(filmed.xy[:3, 1], [[0.2, 0.1], [0.3, 0.1], [0.4, 0.1]], atol=1e-6)
    np.testing.assert_allclose(filmed.xy[2:, 2], [[0.95, 0.5]] * 3, atol=1e-6)
    assert not filmed.mask[:, 4:].any()


def test_blending_removes_a_jump_in_light_and_leaves_a_perfect_segment_alone():
    generated = np.full((6, 32, 32, 3), 100, np.uint8)
    none = np.zeros((32, 32, 3))

    def blended(before, after, blend_frames):
        return np.stack(list(blend_in_time(generated, before, after, blend_frames=blend_frames)))

    assert (blended(none, none, 4) == generated).all()
    assert blended(none + 20, none - 10, 2).mean((1, 2, 3)).tolist() == [120, 110, 100, 100, 95, 90]
    assert (blended(none + 20, None, 0) == generated).all()


def test_repaired_frames_are_made_one_at_a_time():
    """A segment of thousands in a large video would take tens of gigabytes."""
    segment, size = Segment(1, 200, 202), 128
    generated = np.random.default_rng(0).integers(0, 256, (202, 16, 16, 3), np.uint8)
    whole = CropBox(0, 0, size, size)
    subject = SimpleNamespace(frames=generated, provenance={"crop_box": asdict(whole)})
    full = {f: np.zeros((size, size, 3), np.uint8) for f in segment.beside}
    repaired = RepairedFrames()
    tracemalloc.start()
    repaired.add(full, cast(Any, subject), segment, generated, 4)
    for number in segment.bad:
        assert repaired[number].shape == (size, size, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(repaired) == segment.bad and repaired.get(0) is None
    # A frame is pasted in double precision.
    assert peak < 40 * full[0].nbytes
    middle = paste_feathered(full[0], generated[20], whole)
    assert (repaired[20] == middle).all(), "far from both borders as it was generated"


def test_a_square_is_paste_feathered_without_seams():
    frame, square = np.full((60, 40, 3), 50, np.uint8), np.full((20, 20, 3), 150, np.uint8)
    out = paste_feathered(frame, square, CropBox(0, 10, 40, 40)).astype(int)
    assert (out[:10] == 50).all() and (out[50:] == 50).all() and (out[20:40] == 150).all()
    assert np.abs(np.diff(out[:, 20, 0])).max() < 60
    whole = paste_feathered(frame[:40], square, CropBox(0, 0, 40, 40))
    assert (whole == 150).all()
    beyond = paste_feathered(frame, square, CropBox(-10, 0, 60, 60))
    assert beyond.shape == frame.shape and (beyond == 150).all()


def test_the_background_fades_between_the_good_frames():
    dark, light = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 200, np.uint8)
    assert (background(dark, light, 0.25) == 50).all()
    assert (background(None, light, 0.25) == 200).all() and (background(dark, None, 0.5) == 0).all()


def test_segments_are_sorted():
    assert [s.first for s in parse_segments([[8, 9], [2, 3]], 12)] == [2, 8]
    assert Segment(0, 3, 12).generated == [0, 1, 2, 3, 4] and Segment(9, 11, 12).generated == [8, 9, 10, 11]


def test_a_repair_leaves_a_run_of_the_same_clip(clip, mended, sample):
    video, folder = clip
    mended("segments=[[5,7]]")
    settings = RunFolder(folder / "run").settings()
    assert settings.pose.kind == "file" and settings.pose.build().name == "file" and settings.subject == str(video)
    sample(f"run={folder / 'run'}", f"poses={folder / 'poses.npz'}", "sampling.num_steps=1", f"output={folder / 'out'}")
    assert read_video(folder / "out/frames").frames.shape == (12, 64, 64, 3)


def test_a_folder_is_repaired_from_its_own_frames_whatever_is_prepared_under_its_name(clip, mended, monkeypatch):
    video, folder = clip
    images = read_video(video).frames
    namesake = ClipSettings(resolution=64, crop="pad")
    write_frames(folder / "dance.tmp", images[:4])
    save_poses(folder / "four.npz", load_poses(folder / "poses.npz")[:4])
    extractor = FileExtractor(path=folder / "four.npz")
    prepare_subject(
        folder / "dance.tmp", Recipe(clip=namesake, extractor=extractor, root=folder / "data"), name="dance"
    )
    write_frames(folder / "dance", images)
    monkeypatch.chdir(folder)
    summary = mended("segments=[[5,7]]", video="dance")
    assert max(summary["training_frames"]) > 3, "there are frames that the namesake lacks"
    repaired = read_video(folder / "run/frames").frames
    kept = [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert (repaired[kept] == images[kept]).all() and len(load_subject("dance", folder / "data")) == 4
    assert {path.name[:6] for path in (folder / "data").iterdir() if path.name[0] != "."} == {"dance", "dance-"}
