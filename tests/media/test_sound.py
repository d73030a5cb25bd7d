"""The sound of a driver lies under a video at the times that it had, whatever the stretch."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from src.media.sound import soundtrack
from src.media.video import VideoReader, write_video

RATE, FPS = 44100, 10


def write_with_beeps(path: Path, *, seconds: int = 4, delay: float = 0.0, codec: str = "aac") -> None:
    """A video with a short beep at the beginning of each second, the sound beginning `delay` seconds late."""
    time = np.arange(round((seconds - delay) * RATE)) / RATE + delay
    tone = np.where(time % 1 < 0.1, 0.8 * np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = container.add_stream(codec, rate=RATE, layout="mono")
        for index in range(seconds * FPS):
            frame = np.full((32, 32, 3), 3 * index, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        kind = audio.codec_context.format.name
        samples = tone[None] if kind == "fltp" else (tone[None] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format=kind, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, round(delay * RATE), Fraction(1, RATE)
        container.mux(audio.encode(frame))
        container.mux(audio.encode())


def beeps(path: Path) -> np.ndarray:
    """Seconds at which a beep begins."""
    with av.open(str(path)) as container:
        parts = [(frame.time, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    sound = np.concatenate([part for _, part in parts])
    loud = np.convolve(np.abs(sound), np.ones(200) / 200, "same") > 0.1
    return parts[0][0] + np.flatnonzero(np.diff(loud.astype(int)) == 1) / RATE


def streams(path: Path) -> dict[str, float]:
    """Kinds of the streams and how many seconds they last."""
    with av.open(str(path)) as container:
        return {stream.type: float(stream.duration * stream.time_base) for stream in container.streams}


@pytest.mark.parametrize("delay", [0.0, 0.25])
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("mkv", "pcm_s16le")])
def test_a_stretch_of_the_sound_is_in_step(tmp_path, suffix, codec, delay):
    driver = tmp_path / f"driver.{suffix}"
    write_with_beeps(driver, delay=delay, codec=codec)
    sound = soundtrack(driver, start_frame=15, num_frames=20, fps=FPS)
    write_video(tmp_path / "out.mp4", np.zeros((20, 32, 32, 3), np.uint8), FPS, sound=sound)
    assert streams(tmp_path / "out.mp4") == pytest.approx({"video": 2.0, "audio": 2.0}, abs=0.05)
    np.testing.assert_allclose(beeps(tmp_path / "out.mp4"), [0.5, 1.5], atol=0.03)


def test_sound_that_begins_late_stays_late(tmp_path):
    write_with_beeps(tmp_path / "driver.mkv", delay=1.5, codec="pcm_s16le")
    sound = soundtrack(tmp_path / "driver.mkv", start_frame=0, num_frames=40, fps=FPS)
    write_video(tmp_path / "out.mp4", np.zeros((40, 32, 32, 3), np.uint8), FPS, sound=sound)
    np.testing.assert_allclose(beeps(tmp_path / "out.mp4"), [2, 3], atol=0.03)
    silence = [samples.shape[1] for _, samples in sound.blocks() if not samples.any()]
    assert silence == [RATE, RATE // 2], "an hour of it in one piece takes a gigabyte"


def test_a_video_without_sound_has_none(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_video(tmp_path / "mute.mp4", np.zeros((4, 32, 32, 3), np.uint8), FPS)
    assert soundtrack(tmp_path / "mute.mp4", start_frame=0, num_frames=4, fps=FPS) is None
    assert "has no sound" in caplog.text and list(streams(tmp_path / "mute.mp4")) == ["video"]


def test_how_a_video_is_read_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_video(tmp_path / "clip.mp4", np.zeros((4, 32, 48, 3), np.uint8), FPS)
    VideoReader(tmp_path / "clip.mp4")
    assert "48x32 pixels, colours of BT.709, limited range, 10 fps" in caplog.text
    Image.new("RGB", (48, 32)).save(
        tmp_path / "clip.gif", save_all=True, append_images=[Image.new("RGB", (48, 32), "red")]
    )
    VideoReader(tmp_path / "clip.gif")
    assert "clip.gif: 48x32 pixels, RGB colours, 10 fps" in caplog.text


def test_hdr_is_said(tmp_path, caplog):
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.colorspace = 18, 9
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    VideoReader(tmp_path / "phone.mp4")
    assert "is HDR (HLG)" in caplog.text
