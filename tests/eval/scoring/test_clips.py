"""Reading what is to be scored: every known way to falsify a number by its files is closed."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eval.scoring.clips import find_clips, read_clip
from src.common.errors import UserError
from src.media.video import write_frames, write_video
from tests.eval.conftest import smooth_frames

NATIVE = {"resolution": None, "resize": None}


@pytest.fixture
def frames() -> np.ndarray:
    return smooth_frames(12, 32, seed=0)


def read(generated: Path, real: Path | None = None, **options: object):
    (paths,) = find_clips(generated, real, None)
    return read_clip(paths, **(NATIVE | options))


def write_lossless(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_frames_come_in_natural_order_and_in_rgb(tmp_path: Path, frames: np.ndarray) -> None:
    (tmp_path / "clip").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{i}.png")
    clip = read(tmp_path / "clip")
    assert np.array_equal(clip.generated, frames), "10.png comes after 2.png, red stays red"
    assert clip.warnings == ()


def test_lossless_video_is_read_exactly_and_lossy_ones_are_warned_about(tmp_path: Path, frames: np.ndarray) -> None:
    write_lossless(tmp_path / "a.mkv", frames)
    clip = read(tmp_path / "a.mkv")
    assert np.array_equal(clip.generated, frames) and clip.warnings == ()
    write_video(tmp_path / "b.mp4", frames, 10)
    assert "h264, which loses detail" in read(tmp_path / "b.mp4").warnings[0]
    (tmp_path / "c").mkdir()
    Image.fromarray(frames[0]).save(tmp_path / "c" / "0.jpg")
    assert ".jpg files, which lose detail" in read(tmp_path / "c").warnings[0]


def test_gifs_give_each_frame_once_or_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "even.gif", save_all=True, append_images=images[1:], duration=100)
    clip = read(tmp_path / "even.gif")
    assert len(clip.generated) == 12
    assert "256 colours" in clip.warnings[0]
    uneven = [100] * 6 + [900] * 6
    images[0].save(tmp_path / "uneven.gif", save_all=True, append_images=images[1:], duration=uneven)
    with pytest.raises(UserError, match=r"variable frame rate.*dropped and.*repeated"):
        read(tmp_path / "uneven.gif")


def test_counts_and_sizes_must_agree(tmp_path: Path, frames: np.ndarray) -> None:
    write_frames(tmp_path / "real", frames)
    write_frames(tmp_path / "short", frames[:-1])
    write_frames(tmp_path / "small", frames[:, :16, :16])
    write_frames(tmp_path / "wide", frames[:, :16])
    with pytest.raises(UserError, match=r"11 generated frames .* against 12 real"):
        read(tmp_path / "short", tmp_path / "real")
    with pytest.raises(UserError, match=r"16x16 against real ones of 32x32"):
        read(tmp_path / "small", tmp_path / "real")
    clip = read(tmp_path / "small", tmp_path / "real", resolution=24, resize="bicubic")
    expected = np.asarray(Image.fromarray(frames[3]).resize((24, 24), Image.Resampling.BICUBIC))
    assert np.array_equal(clip.real[3], expected) and clip.generated.shape == (12, 24, 24, 3)
    with pytest.raises(UserError, match="not square"):
        read(tmp_path / "wide", tmp_path / "wide", resolution=24, resize="bicubic")


def test_an_unreadable_video_is_an_error_and_never_replaced(tmp_path: Path, frames: np.ndarray) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "good.mp4", frames, 10)
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"not a video")
    clips = find_clips(tmp_path / "videos", None, None)
    assert [clip.name for clip in clips] == ["bad", "good"]
    with pytest.raises(UserError, match=r"bad\.mp4 is not a readable video"):
        read_clip(clips[0], **NATIVE)


def test_several_clips_pair_by_name(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("ann", "bob"):
        write_frames(tmp_path / "generated" / name, frames[:2])
        write_frames(tmp_path / "real" / name, frames[2:4])
        (tmp_path / "faces").mkdir(exist_ok=True)
        Image.fromarray(frames[0]).save(tmp_path / "faces" / f"{name}.png")
    clips = find_clips(tmp_path / "generated", tmp_path / "real", tmp_path / "faces")
    assert [(clip.name, clip.real.name, clip.reference.name) for clip in clips] == [
        ("ann", "ann", "ann.png"),
        ("bob", "bob", "bob.png"),
    ]
    assert np.array_equal(read_clip(clips[0], **NATIVE).reference, frames[0])
    listed = find_clips([tmp_path / "generated" / "bob"], [tmp_path / "real" / "ann"], None)
    assert listed[0].name == "bob", "one clip pairs with one, whatever their names"
    write_frames(tmp_path / "real" / "cyd", frames[:2])
    with pytest.raises(UserError, match="only in generated: none; only in real: cyd"):
        find_clips(tmp_path / "generated", tmp_path / "real", None)
    (tmp_path / "faces" / "bob.png").unlink()
    with pytest.raises(UserError, match="nothing for the clips bob"):
        find_clips(tmp_path / "generated", None, tmp_path / "faces")


def test_folders_that_sampling_writes_stand_for_their_frames(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("ann", "bob"):
        write_frames(tmp_path / name / "frames", frames[:2])
        write_video(tmp_path / name / "generated.mp4", frames[:2], 10)
    assert [(clip.name, clip.generated.name) for clip in find_clips(tmp_path / "ann", None, None)] == [
        ("ann", "frames")
    ]
    assert [clip.name for clip in find_clips(tmp_path, None, None)] == ["ann", "bob"]
    assert find_clips(tmp_path / "ann" / "frames", None, None)[0].name == "ann"


def test_ambiguous_and_absent_paths_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_clips(tmp_path / "nowhere", None, None)
    write_frames(tmp_path / "mixed", frames[:2])
    write_video(tmp_path / "mixed" / "video.mp4", frames, 10)
    with pytest.raises(UserError, match="images and videos"):
        find_clips(tmp_path / "mixed", None, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither images nor videos"):
        find_clips(tmp_path / "empty", None, None)
    (tmp_path / "text.png").write_text("no image")
    write_frames(tmp_path / "clip", frames[:2])
    (paths,) = find_clips(tmp_path / "clip", None, tmp_path / "text.png")
    with pytest.raises(UserError, match="not a readable image"):
        read_clip(paths, **NATIVE)
