"""DensePose conditions and masks as users give them."""

import logging
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.baselines.conditions import BACKGROUND, read_conditions, render_parts, require_conditions
from src.baselines.masks import read_masks, segment_people, subject_masks
from src.baselines.per_frame import FrameGeometry, find_beside
from src.common.errors import UserError
from src.data.crop import CropBox
from src.media.video import VideoReader, write_frames, write_video
from src.people.identity import sample_identity
from src.people.parts import render_clip_parts
from src.people.render import render_clip

SIZE, FRAMES = 64, 3
OWN = FrameGeometry(SIZE)
CROPPED = FrameGeometry(SIZE, full=(96, 64), box=CropBox(left=-16, top=-32, width=128, height=128))


@pytest.fixture(scope="module")
def parts() -> np.ndarray:
    return render_clip_parts(sample_identity(2), "talk", FRAMES, SIZE, 2)


def iuv(parts: np.ndarray) -> np.ndarray:
    coordinates = np.full((*parts.shape, 2), 99, np.uint8)
    return np.concatenate([parts[..., None], coordinates], -1)


def test_colours_are_viridis():
    """The figures of the specification: background, torso and head."""
    colours = render_parts(np.array([[[0, 2, 24]]], np.uint8))[0, 0]
    assert tuple(colours[0]) == BACKGROUND == (68, 1, 84)
    from matplotlib import colormaps

    expected = np.array([colormaps["viridis"](int(i * 255 / 24))[:3] for i in (0, 2, 24)]) * 255
    assert np.abs(colours - expected).max() <= 1.5


def test_every_form_gives_the_same_pictures(parts, tmp_path):
    rendered = render_parts(parts)
    np.savez(tmp_path / "a.npz", parts=parts)
    np.savez(tmp_path / "b.npz", iuv=iuv(parts), other=parts)
    np.save(tmp_path / "c.npy", parts.astype(np.int64))
    np.save(tmp_path / "d.npy", iuv(parts))
    write_frames(tmp_path / "e", rendered)
    for name, kind in (("a.npz", "parts"), ("b.npz", "iuv"), ("c.npy", "parts"), ("d.npy", "iuv"), ("e", "frames")):
        found = read_conditions(tmp_path / name, num_frames=FRAMES, geometry=OWN)
        assert found.kind == kind and np.array_equal(found.images, rendered), name
    write_video(tmp_path / "f.mp4", rendered, 10, crf=0)
    video = read_conditions(tmp_path / "f.mp4", num_frames=FRAMES, geometry=OWN)
    off = np.abs(video.images.astype(int) - rendered).max(-1)
    assert np.quantile(off, 0.75) <= 4, "beyond what halved colour resolution does along edges"


def test_conditions_of_the_whole_video_are_cropped_as_its_frames(tmp_path):
    parts = np.zeros((1, 64, 96), np.uint8)
    parts[:, :, 48:] = 24
    np.save(tmp_path / "parts.npy", parts)
    write_frames(tmp_path / "images", render_parts(parts))
    from_parts = read_conditions(tmp_path / "parts.npy", num_frames=1, geometry=CROPPED).images[0]
    from_images = read_conditions(tmp_path / "images", num_frames=1, geometry=CROPPED).images[0]
    # The square of 128 pixels is shrunk to 64: the frame fills rows 16 to 48 and columns 8 to 56, its middle is at 32.
    expected = np.zeros((SIZE, SIZE), np.uint8)
    expected[16:48, 32:56] = 24
    assert np.array_equal(from_parts, render_parts(expected[None])[0])
    inner = np.s_[20:44, 36:52]
    assert np.abs(from_images[inner].astype(int) - from_parts[inner]).max() <= 2
    assert tuple(from_images[2, 2]) == BACKGROUND


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, SIZE, SIZE), np.uint8), "has 2 conditions where the video has 3 frames"),
        (np.zeros((3, 32, 32), np.uint8), "is 32x32 pixels: expected 64x64 as the subject's frames$"),
        (np.full((3, SIZE, SIZE), 25, np.uint8), "has parts from 25 to 25"),
        (np.zeros((3, SIZE, SIZE), np.float32), "of float32: expected integers"),
        (np.zeros((3, SIZE, SIZE, 2), np.uint8), "expected integers, parts"),
    ],
    ids=["count", "size", "index", "floats", "channels"],
)
def test_arrays_that_do_not_fit(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=message):
        read_conditions(tmp_path / "x.npy", num_frames=FRAMES, geometry=OWN)


def test_files_that_cannot_be_read(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    for name, message in (
        ("objects.npy", "not readable as an array"),
        ("other.npz", "holds something: expected one of parts, iuv"),
        ("broken.npz", "not readable as arrays"),
        ("absent.npy", "absent.npy cannot be read: there is no such file"),
        ("absent.mp4", "no video at"),
    ):
        with pytest.raises(UserError, match=message):
            read_conditions(tmp_path / name, num_frames=FRAMES, geometry=OWN)


def test_another_colouring_is_told(parts, tmp_path, caplog):
    write_frames(tmp_path / "x", np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8) + 200)
    with caplog.at_level(logging.WARNING):
        read_conditions(tmp_path / "x", num_frames=FRAMES, geometry=OWN)
    assert "0% of the pixels have the background" in caplog.text
    caplog.clear()
    write_frames(tmp_path / "y", render_parts(parts))
    with caplog.at_level(logging.WARNING):
        read_conditions(tmp_path / "y", num_frames=FRAMES, geometry=OWN)
    assert not caplog.text


def test_conditions_are_found_by_the_subjects_name(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "c.npz").touch()
    (tmp_path / "c.mp4").touch()
    assert find_beside(tmp_path, "a") == tmp_path / "a.mp4" and find_beside(tmp_path, "b") == tmp_path / "b"
    with pytest.raises(UserError, match="are both there for c: leave one"):
        find_beside(tmp_path, "c")
    with pytest.raises(UserError, match=r"for d, and there is none in .*: add d.mp4"):
        require_conditions(tmp_path, "d")
    with pytest.raises(UserError, match="dataset.condition_root is not set"):
        require_conditions(None, "d")


def test_masks_of_every_form(parts, tmp_path):
    expected = (parts > 0).astype(np.float32)
    np.savez(tmp_path / "a.npz", masks=parts)
    np.save(tmp_path / "b.npy", parts > 0)
    write_frames(tmp_path / "c", np.repeat((expected[..., None] * 255).astype(np.uint8), 3, -1))
    for name in ("a.npz", "b.npy", "c"):
        found = read_masks(tmp_path / name, num_frames=FRAMES, geometry=OWN)
        assert found.source == "file" and found.values.dtype == np.float32
        assert np.array_equal(found.values, expected), name
    with pytest.raises(UserError, match="has 3 masks where the video has 5 frames"):
        read_masks(tmp_path / "b.npy", num_frames=5, geometry=OWN)
    with pytest.raises(UserError, match="expected masks"):
        np.save(tmp_path / "d.npy", np.zeros((3, 4)))
        read_masks(tmp_path / "d.npy", num_frames=FRAMES, geometry=OWN)


def test_the_users_masks_come_before_mediapipes(parts, tmp_path):
    np.save(tmp_path / "me.npy", parts)
    frames = np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8)
    masks = subject_masks(frames, [2, 0], root=tmp_path, name="me", geometry=OWN)
    assert masks.source == "file" and (masks.values == (parts[[2, 0]] > 0)).all()
    with pytest.raises(UserError, match=r"dataset.mask_root=.*nowhere is no folder"):
        subject_masks(frames, [0], root=tmp_path / "nowhere", name="me", geometry=OWN)


def test_mediapipe_finds_a_filmed_person():
    clip = Path(__file__).resolve().parents[3] / "shared/data/clips/ted_clip_1.mp4"
    pytest.importorskip("mediapipe")
    if not clip.is_file():
        pytest.skip(f"{clip.name} is not beside this checkout")
    frames = np.stack(list(VideoReader(clip, stop=2)))
    masks = segment_people(frames)
    assert masks.source.startswith("mediapipe ") and set(np.unique(masks.values)) == {0, 1}
    assert all(0.2 < mask.mean() < 0.6 for mask in masks.values)
    # Frame 1 alone is segmented as it was behind frame 0.
    assert np.array_equal(segment_people(frames[1:]).values[0], masks.values[1])


def test_mediapipe_says_nothing_while_it_is_opened(monkeypatch, capfd):
    class Segmentation:
        def __init__(self, *, model_selection):
            os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.")

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            os.write(2, b"our own")

        def process(self, frame):
            return SimpleNamespace(segmentation_mask=np.ones(frame.shape[:2]))

    solutions = SimpleNamespace(selfie_segmentation=SimpleNamespace(SelfieSegmentation=Segmentation))
    monkeypatch.setattr("src.baselines.masks.import_mediapipe", lambda: SimpleNamespace(solutions=solutions))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    assert segment_people(np.zeros((1, 4, 4, 3), np.uint8)).values.all()
    assert capfd.readouterr().err == "our own"


def test_without_mediapipe_it_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mediapipe", None)
    with pytest.raises(UserError, match="masks of the person need the package mediapipe"):
        segment_people(render_clip(sample_identity(1), "talk", 1, SIZE, 1)[0])
