"""Replacing frames of a video: all others, their times and the sound stay as they were."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from src.common.errors import UserError
from src.media.reencode import check_rewritable, replace_frames
from src.media.sources import ffmpeg_of
from src.media.video import read_video, write_video


def noise(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth random pictures."""
    coarse = np.random.default_rng(seed).integers(60, 200, (count, 6, 8, 3))
    return np.kron(coarse, np.ones((1, height // 6, width // 8, 1))).astype(np.uint8)


def with_sound(path: Path, frames: np.ndarray, fps: Fraction) -> Path:
    """A video with a tone of the same length."""
    silent = path.with_name("silent.mp4")
    write_video(silent, frames, fps)
    with av.open(str(silent)) as old, av.open(str(path), "w") as new:
        picture = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("aac", rate=16000)
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                new.mux(packet)
        count = int(16000 * len(frames) / fps)
        tone = np.sin(np.arange(count) * 0.1).astype(np.float32)[None]
        samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        samples.rate = 16000
        new.mux(sound.encode(samples))
        new.mux(sound.encode())
    return path


def encode(path: Path, frames: np.ndarray, codec: str, **context: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for key, value in context.items():
            setattr(stream.codec_context, key, value)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("target", ["new.mp4", "new.mkv"])
def test_kept_frames_times_and_sound_are_identical(target, tmp_path):
    source = with_sound(tmp_path / "old.mp4", noise(12), Fraction(30000, 1001))
    before, new_frame = read_video(source), noise(1, seed=1)[0]
    replace_frames(source, tmp_path / target, {5: new_frame})
    after = read_video(tmp_path / target)
    kept = [f for f in range(12) if f != 5]
    assert (after.frames[kept] == before.frames[kept]).all()
    # yuv420p halves the resolution of colour: only the blocks' insides can come back.
    assert np.abs(after.frames[5].astype(int) - new_frame)[4::8, 4::8].max() <= 4
    np.testing.assert_allclose(
        [float(t) for t in times(tmp_path / target)], [float(t) for t in times(source)], atol=1e-3
    )
    assert sound_packets(tmp_path / target) == sound_packets(source)
    if target.endswith(".mp4"):
        assert after.fps == before.fps


@pytest.mark.parametrize("code", [4, 5, 6, 7, 9])
def test_new_frames_are_of_the_videos_own_colours(code, tmp_path):
    """Codes of the matrix coefficients in ITU-T H.273; BT.709 is in the other tests."""
    bright = np.full((1, 48, 64, 3), (190, 60, 40), np.uint8)
    encode(tmp_path / "old.mkv", np.repeat(bright, 3, 0), "libx264", colorspace=code)
    replace_frames(tmp_path / "old.mkv", tmp_path / "new.mkv", {1: bright[0]})
    with av.open(str(tmp_path / "new.mkv")) as container:
        assert container.streams.video[0].codec_context.colorspace == code
    assert np.abs(read_video(tmp_path / "new.mkv").frames[1].astype(int) - bright[0]).max() <= 2


@pytest.mark.parametrize(
    ("codec", "name"), [("libvpx", "old.webm"), ("mpeg1video", "old.mpg"), ("mpeg4", "old.avi"), ("libx264", "old.mp4")]
)
def test_kept_frames_are_identical_wherever_their_samples_of_colour_lie(codec, name, tmp_path):
    encode(tmp_path / name, noise(4), codec)
    replace_frames(tmp_path / name, tmp_path / "new.mkv", {3: noise(1, seed=1)[0]})
    before, after = read_video(tmp_path / name).frames, read_video(tmp_path / "new.mkv").frames
    assert np.array_equal(after[:3], before[:3]) and not np.array_equal(after[3], before[3])


def test_a_lossy_copy_is_smaller(tmp_path):
    write_video(tmp_path / "old.mp4", noise(12), 10)
    for name, crf in (("exact.mp4", 0), ("small.mp4", 30)):
        replace_frames(tmp_path / "old.mp4", tmp_path / name, {}, crf=crf)
    assert (tmp_path / "small.mp4").stat().st_size < 0.7 * (tmp_path / "exact.mp4").stat().st_size


def test_what_cannot_be_kept_is_refused(tmp_path):
    write_video(tmp_path / "old.mp4", noise(4), 10)
    check_rewritable(tmp_path / "old.mp4")
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in noise(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="pixels that are not square"):
        check_rewritable(tmp_path / "wide.mp4")
    with pytest.raises(UserError, match="cannot be written as .*64x48 cannot be replaced"):
        replace_frames(tmp_path / "old.mp4", tmp_path / "new.mp4", {1: np.zeros((4, 4, 3), np.uint8)})
    assert not (tmp_path / "new.mp4").exists()


@pytest.mark.parametrize(
    ("codec", "name", "pixels", "decoder"),
    [
        ("libvpx-vp9", "old.webm", "yuva420p", "-c:v libvpx-vp9 -i"),
        ("libvpx", "old.webm", "yuva420p", "-c:v libvpx -i"),
        ("prores_ks", "old.mov", "yuva444p10le", "-i"),
    ],
)
def test_transparent_pixels_are_refused(codec, name, pixels, decoder, tmp_path):
    """Kept frames would show the colours that are hidden behind them."""
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        rgba = np.concatenate([noise(1)[0], np.zeros((48, 64, 1), np.uint8)], -1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode())
    with pytest.raises(UserError, match=f"has an alpha channel.*ffmpeg {decoder} .*premultiply=inplace=1"):
        check_rewritable(tmp_path / name)


def test_commands_in_messages_name_a_file_as_a_shell_takes_it():
    assert ffmpeg_of("my clip's.webm", "libvpx") == "ffmpeg -c:v libvpx -i 'my clip'\"'\"'s.webm'"
    assert ffmpeg_of("clip.mp4") == "ffmpeg -i clip.mp4"
    assert ffmpeg_of("2024-05-01T12:30:15.mp4") == "ffmpeg -i file:2024-05-01T12:30:15.mp4", "no protocol 2024-05-01T12"
