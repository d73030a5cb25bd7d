"""Videos come back with the frames, colours, times and orientation they were written with."""

import contextlib
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from src.common.errors import UserError
from src.media.reencode import check_rewritable, replace_frames
from src.media.sources import decode, open_video, timestamps
from src.media.video import VideoReader, nearest_in_time, read_video, write_frames, write_image, write_video


def smooth_frames(count: int = 6, height: int = 64, width: int = 96) -> np.ndarray:
    """(F, H, W, 3) uint8: gradients over most of the colour cube, with little for a codec to lose."""
    y, x = np.mgrid[:height, :width] / height
    frames = [
        np.stack([127 + 120 * np.sin(3 * x + i / 3), 127 + 120 * np.cos(4 * y), 127 + 100 * np.sin(2 * x + 3 * y)], -1)
        for i in range(count)
    ]
    return np.stack(frames).round().astype(np.uint8)


def numbered_frames(count: int, size: int = 32) -> np.ndarray:
    """Frame i is flat grey of level 10 i, so that a frame tells its index."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None] * 10, (count, size, size, 3)).copy()


def indices(frames: Iterable[np.ndarray]) -> list[int]:
    return [round(float(frame.mean()) / 10) for frame in frames]


def write_at(path: Path, frames: np.ndarray, milliseconds: list[int], *, codec: str = "libx264") -> None:
    """Write frames with explicit times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, stamp in zip(frames, milliseconds, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def test_round_trip_keeps_size_rate_and_colour(tmp_path):
    frames = smooth_frames()
    write_video(tmp_path / "clip.mp4", frames, Fraction(30000, 1001))
    video = read_video(tmp_path / "clip.mp4")
    assert video.frames.shape == frames.shape and video.frames.dtype == np.uint8
    assert video.fps == Fraction(30000, 1001)
    error = video.frames.astype(int) - frames
    assert np.abs(error).mean() < 2
    assert np.abs(error.mean((0, 1, 2))).max() < 0.75, "a colour cast"


def test_videos_are_encoded_without_what_reads_unset_memory(tmp_path):
    # With macroblock trees the same frames of 64 pixels gave two files in three hundred, by what memory held before:
    # too rarely to be seen here, so the encoder's own record of its settings is read.
    write_video(tmp_path / "clip.mp4", smooth_frames(), 10)
    assert b"mbtree=0" in (tmp_path / "clip.mp4").read_bytes()


def test_colours_on_disk_are_bt709_and_say_so(tmp_path):
    frames = smooth_frames(1)
    write_video(tmp_path / "clip.mp4", frames, 10)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
    luma = np.array(frame.planes[0], np.uint8).reshape(frame.planes[0].height, -1)[:, : frame.width]
    expected = 16 + 219 / 255 * (frames[0] @ np.array([0.2126, 0.7152, 0.0722]))
    assert np.abs(luma - expected).mean() < 1


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    frames = smooth_frames(3, 45, 63)
    write_video(tmp_path / "odd.mp4", frames, 10)
    read = read_video(tmp_path / "odd.mp4").frames
    assert read.shape == (3, 46, 64, 3)
    assert np.abs(read[:, :45, :63].astype(int) - frames).mean() < 2
    assert np.abs(read[:, 45].astype(int) - read[:, 44]).mean() < 2


def displayed_by(source: Path, path: Path, a: int, b: int, c: int, d: int) -> Path:
    """A copy of an mp4 that maps a pixel (x, y) to (a x + c y, b x + d y) before it is shown."""
    data, one, unit = source.read_bytes(), 0x10000, 0x40000000
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    start = data.index(upright, data.index(b"tkhd"))
    wanted = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, unit)
    path.write_bytes(data[:start] + wanted + data[start + len(wanted) :])
    return path


@pytest.mark.parametrize("abcd", [m for s, t in product((1, -1), repeat=2) for m in ((s, 0, 0, t), (0, s, t, 0))])
def test_frames_are_turned_and_mirrored_as_their_display_matrix_says(tmp_path, abcd):
    a, b, c, d = abcd
    frames = np.zeros((2, 64, 96, 3), np.uint8)
    frames[:, :16, :32] = 255
    write_video(tmp_path / "plain.mp4", frames, 10)
    reader = VideoReader(displayed_by(tmp_path / "plain.mp4", tmp_path / "shown.mp4", *abcd))
    # Each pixel is put where the matrix sends it.
    y, x = np.mgrid[:64, :96]
    to_x, to_y = a * x + c * y, b * x + d * y
    shown = np.zeros((64, 96, 3) if a else (96, 64, 3), np.uint8)
    shown[to_y - to_y.min(), to_x - to_x.min()] = frames[0]
    assert (reader.height, reader.width) == shown.shape[:2]
    assert np.abs(next(iter(reader)).astype(int) - shown).mean() < 3


def test_a_mirrored_video_is_said_to_be_one_and_is_not_repaired_unmirrored(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_video(tmp_path / "plain.mp4", smooth_frames(2), 10)
    mirrored = displayed_by(tmp_path / "plain.mp4", tmp_path / "selfie.mp4", -1, 0, 0, 1)
    VideoReader(mirrored)
    assert "96x64 pixels, mirrored, colours" in caplog.text
    with pytest.raises(UserError, match="is shown turned, mirrored"):
        check_rewritable(displayed_by(tmp_path / "plain.mp4", tmp_path / "flipped.mp4", 1, 0, 0, -1))


def test_a_video_that_was_cut_off_is_said_to_lack_its_end(tmp_path, caplog):
    """Of Matroska nothing else tells: what is there is whole."""
    noise = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3), np.uint8)
    write_video(tmp_path / "whole.mkv", noise, 25)
    whole = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "part.mkv").write_bytes(whole[: len(whole) * 7 // 10])
    assert len(VideoReader(tmp_path / "whole.mkv")) == 50 and "cut off" not in caplog.text
    found = len(VideoReader(tmp_path / "part.mkv"))
    assert 25 < found < 45
    [said] = [message for message in caplog.messages if "cut off" in message]
    assert said.startswith(
        f"{tmp_path}/part.mkv says that it lasts 2 s and holds frames up to {(found - 1) / 25:.4g} s"
    )


@pytest.mark.parametrize(
    ("name", "key", "text"),
    [
        ("clip.avi", "title", b"caf\xe9"),
        ("clip.nut", "title", b"caf\xe9"),
        ("clip.nut", "DURATION", b"9" * 400 + b":00:00"),
    ],
)
def test_what_a_video_says_besides_is_no_reason_not_to_read_it(tmp_path, name, key, text):
    """Titles of old cameras are in the alphabet of their makers, and a length may be any number."""
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.metadata["title"] = "none"
        (container if key == "title" else stream).metadata[key] = "?" * len(text)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode())
    written = (tmp_path / name).read_bytes()
    assert b"?" * len(text) in written
    (tmp_path / name).write_bytes(written.replace(b"?" * len(text), text))
    assert len(VideoReader(tmp_path / name)) == 3


def test_an_interlaced_video_is_said_to_be_one_and_a_progressive_one_is_not(tmp_path, caplog):
    write_video(tmp_path / "plain.mp4", smooth_frames(2), 10)
    with av.open(str(tmp_path / "camera.mts"), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "interlaced=1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in smooth_frames(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert len(VideoReader(tmp_path / "plain.mp4")) == 2 and "interlaced" not in caplog.text
    assert [len(VideoReader(tmp_path / "camera.mts")) for _ in range(2)] == [3, 3]
    [said] = [message for message in caplog.messages if "interlaced" in message]
    assert said.startswith(f"{tmp_path}/camera.mts is interlaced") and "-vf bwdif" in said


@pytest.mark.parametrize("abcd", [(0, 0, 0, 0), (-2147483648 // 65536, 0, 0, 1), (1, 1, -1, 1)])
def test_a_display_matrix_of_any_kind_is_read(tmp_path, abcd):
    write_video(tmp_path / "plain.mp4", smooth_frames(2), 10)
    reader = VideoReader(displayed_by(tmp_path / "plain.mp4", tmp_path / "odd.mp4", *abcd))
    assert (reader.height, reader.width) == (64, 96)


def test_non_square_pixels_are_stretched(tmp_path):
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(smooth_frames(1, 32, 48)[0], format="rgb24")))
        container.mux(stream.encode())
    assert read_video(tmp_path / "wide.mp4").frames.shape == (1, 32, 64, 3)


def test_audio_is_ignored(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        video, audio = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=44100)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(audio.encode(sound))
        for frame in numbered_frames(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        container.mux(audio.encode())
    assert indices(read_video(tmp_path / "sound.mp4").frames) == [0, 1, 2, 3, 4]


def test_range_and_rate(tmp_path):
    write_video(tmp_path / "clip.mp4", numbered_frames(20), 20)
    assert indices(VideoReader(tmp_path / "clip.mp4", start=3, stop=6)) == [3, 4, 5]
    half = VideoReader(tmp_path / "clip.mp4", fps=10, start=1, stop=4)
    assert indices(half) == [2, 4, 6] and half.fps == 10
    double = VideoReader(tmp_path / "clip.mp4", fps=40)
    assert len(double) == 40 and set(indices(double)) == set(range(20))
    assert len(VideoReader(tmp_path / "clip.mp4", start=15, stop=99)) == 5


def test_the_size_of_a_late_stretch_is_that_of_the_first_frame(tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", numbered_frames(20), 20)
    decoded = []
    monkeypatch.setattr(
        "src.media.video.decode", lambda path: (decoded.append(frame.shape) or frame for frame in decode(path))
    )
    reader = VideoReader(tmp_path / "clip.mp4", start=15)
    assert len(decoded) == 1, "what lies before is not decoded to know the size"
    assert indices(reader) == [15, 16, 17, 18, 19] and (reader.height, reader.width) == decoded[0][:2]


def test_a_reader_can_be_read_twice(tmp_path):
    write_video(tmp_path / "clip.mp4", numbered_frames(5), 10)
    reader = VideoReader(tmp_path / "clip.mp4")
    assert len(reader) == 5
    assert indices(reader) == indices(reader) == [0, 1, 2, 3, 4]


def test_variable_frame_rate_keeps_its_timing(tmp_path):
    # Frames 0 to 9 in the first second, then 10 to 12 in another three: 13 frames in four seconds.
    times = [*range(0, 1000, 100), 1000, 2000, 3000]
    write_at(tmp_path / "phone.mp4", numbered_frames(13), times)
    video = read_video(tmp_path / "phone.mp4")
    shown = indices(video.frames)
    seconds = np.arange(len(shown)) / float(video.fps)
    for index, second in zip(shown, seconds, strict=True):
        assert abs(times[index] / 1000 - second) <= min(abs(t / 1000 - second) for t in times) + 1e-3


def as_browsers_record(path: Path, frames: np.ndarray, milliseconds: list[int]) -> None:
    """WebM that does not say how long a frame is (DefaultDuration, made a Void of EBML), so that FFmpeg guesses."""
    write_at(path, frames, milliseconds, codec="libvpx")
    stated = bytes.fromhex("23e38384") + int(1e9 / 30).to_bytes(4)
    data = path.read_bytes()
    assert data.count(stated) == 1
    path.write_bytes(data.replace(stated, b"\xec\x86" + bytes(6)))


def test_a_guessed_rate_gives_way_to_the_times_of_the_frames(tmp_path):
    shaken = [0, 37, 69, 97, 130, 166, 201, 237, 262, 295, 329, 370, 401, 437, 463, 498, 533, 564, 606, 630]
    as_browsers_record(tmp_path / "camera.webm", numbered_frames(20), shaken)
    with av.open(str(tmp_path / "camera.webm")) as container:
        assert container.streams.video[0].guessed_rate == 1000, "its clock's"
    video = read_video(tmp_path / "camera.webm")
    assert float(video.fps) == pytest.approx(19 / 0.63, rel=1e-3) and indices(video.frames) == list(range(20))
    # FFmpeg takes the 10 a second of the first second for the rate of all four.
    as_browsers_record(tmp_path / "slower.webm", numbered_frames(13), [*range(0, 1000, 100), 1000, 2000, 3000])
    slower = read_video(tmp_path / "slower.webm")
    assert slower.fps == 4 and indices(slower.frames)[4:] == [10] * 3 + [11] * 4 + [12]


def test_a_stated_rate_is_taken_where_the_times_agree(tmp_path):
    for stated in (Fraction(24000, 1001), Fraction(30000, 1001)):
        write_video(tmp_path / "film.mp4", numbered_frames(12), stated)
        assert read_video(tmp_path / "film.mp4").fps == stated
    write_at(tmp_path / "near.mkv", numbered_frames(12), [round(i * 1001 / 30) for i in range(12)])
    assert read_video(tmp_path / "near.mkv").fps == 30
    write_at(tmp_path / "other.mkv", numbered_frames(12), [i * 50 for i in range(12)])
    assert read_video(tmp_path / "other.mkv").fps == 20, "30 is stated"
    write_at(tmp_path / "slow.mkv", numbered_frames(25), [round(i * 1000 / 27.6) for i in range(25)])
    slow = VideoReader(tmp_path / "slow.mkv")
    assert float(slow.fps) == pytest.approx(27.6, rel=1e-3) and len(slow) == 25, "30 is stated"
    write_at(tmp_path / "two.mkv", numbered_frames(2), [0, 33])
    assert read_video(tmp_path / "two.mkv").fps == 30, "in whole milliseconds"


def test_nothing_of_a_stream_is_asked_for_once_its_container_is_closed(tmp_path, monkeypatch):
    """Its memory is freed then, and only sometimes still says what it said."""
    write_at(tmp_path / "phone.mkv", numbered_frames(4), [0, 40, 80, 200])
    stream = SimpleNamespace()

    @contextlib.contextmanager
    def opened(path):
        with open_video(path) as container:
            real = container.streams.video[0]
            vars(stream).update({name: getattr(real, name) for name in ("average_rate", "guessed_rate", "time_base")})
            yield SimpleNamespace(streams=SimpleNamespace(video=[stream]), demux=lambda _: container.demux(real))
        vars(stream).clear()

    monkeypatch.setattr("src.media.sources.open_video", opened)
    assert timestamps(tmp_path / "phone.mkv")[0].tolist() == [0, 0.04, 0.08, 0.2]


def test_resampling_to_the_own_rate_changes_nothing():
    assert nearest_in_time(np.arange(50) / 23.976, 23.976).tolist() == [1] * 50
    assert nearest_in_time(np.arange(50) / 30, 60.0).sum() == 100


def test_images_of_a_folder_come_in_natural_order(tmp_path):
    frames = numbered_frames(12)
    for index in (10, 2, 11, 1):
        write_image(tmp_path / f"{index}.png", frames[index])
    video = read_video(tmp_path)
    assert indices(video.frames) == [1, 2, 10, 11] and video.fps == 10
    assert VideoReader(tmp_path, fps=24).fps == 24


def test_frames_are_lossless(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), np.uint8)
    write_frames(tmp_path / "frames", frames)
    assert sorted(p.name for p in (tmp_path / "frames").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert np.array_equal(read_video(tmp_path / "frames").frames, frames)
    write_frames(tmp_path / "frames", frames[:1])
    assert np.array_equal(read_video(tmp_path / "frames").frames, frames[:1])


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    def broken():
        yield smooth_frames(1)[0]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_video(tmp_path / "clip.mp4", broken(), 10)
    with pytest.raises(RuntimeError, match="stopped"):
        write_frames(tmp_path / "frames", broken())
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "clip.mp4", [], 10)
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_line(tmp_path):
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "notes.txt").write_text("hello\n" * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "mixed").mkdir()
    write_image(tmp_path / "mixed" / "1.png", np.zeros((8, 8, 3), np.uint8))
    write_image(tmp_path / "mixed" / "2.png", np.zeros((8, 9, 3), np.uint8))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "1.png").write_bytes(b"no image")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    for name, message in {
        "absent.mp4": "no video at",
        "zero.mp4": "0 bytes",
        "noise.mp4": "not a readable video|no video stream|damaged|no frames",
        "notes.txt": "not a readable video",
        "sound.mkv": "no video stream",
        "folder": "no images",
        "mixed": "mixed: 2.png is 9x8 pixels where the first is 8x8",
        "torn": "not a readable image",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            read_video(tmp_path / name)
        assert "\n" not in str(error.value)


def test_an_animated_webp_is_said_to_be_one_and_not_to_be_damaged(tmp_path):
    first, *others = map(Image.fromarray, numbered_frames(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=100, lossless=True)
    with pytest.raises(UserError, match="a.webp is an animated WebP, which is not read: convert it to mp4"):
        read_video(tmp_path / "a.webp")


def test_bad_ranges(tmp_path):
    write_video(tmp_path / "clip.mp4", numbered_frames(5), 10)
    for options, message in (
        ({"start": 5}, "has 5 frames"),
        ({"start": 3, "stop": 3}, "start < stop"),
        ({"fps": 0}, "must be from 0.01 to 1000"),
        ({"fps": float("nan")}, "must be from 0.01 to 1000"),
        ({"fps": 1e300}, "must be from 0.01 to 1000"),
    ):
        with pytest.raises(UserError, match=message):
            VideoReader(tmp_path / "clip.mp4", **options)


def test_a_damaged_video_is_not_read_in_part(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    write_video(tmp_path / "clip.mp4", noise, 10)
    data = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "clip.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match="damaged"):
        read_video(tmp_path / "clip.mp4")


def test_a_frame_that_is_shown_years_later_is_refused(tmp_path):
    """Nor are the years filled with frames."""
    day = 24 * 3600 * 1000
    write_at(tmp_path / "years.mkv", numbered_frames(4), [0, 40, 80, 20 * day])
    for fps in (None, 30):
        with pytest.raises(UserError, match=r"frame 3 is shown 1728000 seconds after"):
            VideoReader(tmp_path / "years.mkv", fps=fps)


def test_frames_beyond_the_largest_size_are_refused(tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", numbered_frames(2, 64), 10)
    write_frames(tmp_path / "frames", numbered_frames(2, 64))
    monkeypatch.setattr("src.media.sources.MAX_PIXELS", 64 * 64)
    assert len(read_video(tmp_path / "clip.mp4").frames) == len(read_video(tmp_path / "frames").frames) == 2
    monkeypatch.setattr("src.media.sources.MAX_PIXELS", 64 * 64 - 1)
    for name in ("clip.mp4", "frames"):
        with pytest.raises(UserError, match=r"frames of 64x64 pixels, more than"):
            read_video(tmp_path / name)
    monkeypatch.undo()
    monkeypatch.setattr("src.media.video.MAX_CLIP_BYTES", 2 * 64 * 64 * 3 - 1)
    with pytest.raises(UserError, match="2 frames of 64x64 pixels take 24 KiB: read fewer"):
        read_video(tmp_path / "clip.mp4")


def test_a_picture_is_not_unpacked_before_its_size_is_known(tmp_path):
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "1.png").write_bytes(bomb + chunk(b"IEND", b""))
    with pytest.raises(UserError, match=r"30000x30000 pixels|more than the \d+ pixels"):
        read_video(tmp_path)


@pytest.mark.parametrize("kind", ["playlist", "list"])
def test_a_file_that_names_other_files_is_no_video(tmp_path, kind):
    write_video(tmp_path / "other.ts", numbered_frames(3), 10)
    text = {
        "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
        "list": "ffconcat version 1.0\nfile other.ts\n",
    }[kind]
    (tmp_path / "clip.mp4").write_text(text)
    with pytest.raises(UserError, match="playlists are not followed"):
        read_video(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    "name", ["clip (1)", "päß", "日本語", "it's", "a=b", "http:a", "a%03d", "a*[b]?", "-y", "a\\b", "a:b"]
)
def test_any_name_that_people_give(tmp_path, name, monkeypatch):
    frames = numbered_frames(3)
    monkeypatch.chdir(tmp_path)
    write_video(f"{name}.mp4", frames, 10)
    replace_frames(f"{name}.mp4", f"{name} new.mp4", {1: frames[2]})
    write_frames(name, frames)
    assert indices(read_video(f"{name}.mp4").frames) == indices(read_video(name).frames) == [0, 1, 2]
    assert indices(read_video(f"{name} new.mp4").frames) == [0, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.mp4", f"{name} new.mp4"])


@pytest.mark.parametrize("where", ["clip.mp4", "folder/1.png"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, where):
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(UserError, match="is a pipe, device or socket"):
        read_video(path if path.suffix == ".mp4" else path.parent)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = smooth_frames(1)[0]
    for mode in ["RGB"] if suffix == "jpg" else ["RGB", "RGBA"]:
        lossless = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(frame).convert(mode).save(tmp_path / f"1.{suffix}", exif=exif, **lossless)
        error = read_video(tmp_path).frames[0].astype(int) - np.rot90(frame, -1)
        assert np.abs(error).mean() < 4 and (suffix == "jpg" or not error.any())


def cut_out(height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 4) with colours that are hidden on the left and half seen in the middle, and (H, W, 3) on black."""
    rgba = np.full((height, width, 4), (200, 90, 30, 255), np.uint8)
    rgba[:, : width // 3, 3], rgba[:, width // 3 : width // 2, 3] = 0, 128
    return rgba, np.rint(rgba[..., :3] * (rgba[..., 3:] / 255)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparent_pictures_are_read_on_black(tmp_path, suffix, caplog):
    caplog.set_level(logging.INFO)
    rgba, on_black = cut_out()
    for number in range(2):
        lossless = {"lossless": True, "exact": True} if suffix == "webp" else {}
        Image.fromarray(rgba).save(tmp_path / f"{number}.{suffix}", **lossless)
    assert (read_video(tmp_path).frames == on_black).all()
    assert caplog.text.count("transparent pixels, which are read on black") == 1, "once for all frames"


def test_other_transparent_pictures_are_read_on_black_too(tmp_path):
    rgba, on_black = cut_out()
    grey = rgba[..., [0, 3]]
    Image.fromarray(grey, "LA").save(tmp_path / "1.png")
    assert (read_video(tmp_path).frames[0] == on_black[..., :1]).all()
    key = Image.fromarray(rgba[..., :3])
    key.putpixel((0, 0), (1, 2, 3))
    for picture, transparency in ((key, (200, 90, 30)), (key.convert("P", palette=Image.Palette.ADAPTIVE), b"\0\0")):
        picture.save(tmp_path / "1.png", transparency=transparency)
        assert read_video(tmp_path).frames.max() <= 3


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mov", "qtrle", "argb", {}),
        ("b.mov", "prores_ks", "yuva444p10le", {}),
        ("c.webm", "libvpx-vp9", "yuva420p", {"lossless": "1"}),
        ("d.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
    ],
)
def test_transparent_videos_are_read_on_black(tmp_path, name, codec, pixels, options, caplog):
    caplog.set_level(logging.INFO)
    rgba, on_black = cut_out()
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, pixels
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode())
    error = read_video(tmp_path / name).frames.astype(int) - on_black
    assert error.shape == (3, 64, 96, 3) and np.abs(error).mean() < 2
    assert caplog.text.count("transparent pixels, which are read on black") == 1


def test_the_empty_fourth_byte_of_uncompressed_pixels_is_no_transparency(tmp_path):
    rgba, _ = cut_out()
    with av.open(str(tmp_path / "raw.avi"), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "bgra"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba * np.array((1, 1, 1, 0), np.uint8), format="rgba")))
        container.mux(stream.encode())
    assert (read_video(tmp_path / "raw.avi").frames == rgba[..., :3]).all()


def test_reads_what_opencv_writes(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, (32, 32))
    for frame in numbered_frames(7):
        writer.write(frame)
    writer.release()
    video = read_video(tmp_path / "clip.avi")
    assert indices(video.frames) == list(range(7)) and video.fps == 12


def test_reads_and_writes_where_a_library_has_turned_ffmpegs_log_on(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", smooth_frames(10), 10)
    code = """if True:
        import sys, av, av.logging
        from src.media.video import VideoReader, write_video
        av.logging.set_level(av.logging.VERBOSE)
        for _ in range(50):
            write_video(sys.argv[1], list(VideoReader(sys.argv[1])), 10)
            av.logging.set_level(av.logging.VERBOSE)
    """
    # In a process of its own: what it guards against is a deadlock that holds Python's lock.
    subprocess.run([sys.executable, "-c", code, tmp_path / "clip.mp4"], check=True, timeout=60)
