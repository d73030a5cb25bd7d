"""Videos and pictures with bytes changed: frames, or one line."""

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from src.common.errors import UserError
from src.media.pictures import read_image
from src.media.reencode import check_rewritable, replace_frames
from src.media.video import VideoReader, read_video
from tests.robustness.malformed import fuzzed, mutated, outcome

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), np.uint8)


def video(kind: str) -> bytes:
    file = io.BytesIO()
    codec, pixels = {"gif": ("gif", "rgb8"), "avi": ("mjpeg", "yuvj420p")}.get(kind, ("libx264", "yuv420p"))
    with av.open(file, "w", format={"mkv": "matroska"}.get(kind, kind)) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


VALID = {kind: video(kind) for kind in ("mp4", "mkv", "avi", "gif")}


@pytest.mark.parametrize("kind", VALID)
@fuzzed
@given(data=st.data())
def test_videos(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / f"clip.{kind}"
    path.write_bytes(data.draw(st.one_of(mutated(VALID[kind]), st.binary(max_size=100))))
    fps = data.draw(st.sampled_from([None, 1, 29.97, 1000]))
    reader = outcome(lambda: VideoReader(path, fps=fps))
    if reader is not None and len(reader) < 2000:
        frames = outcome(lambda: list(reader))
        assert frames is None or (len(frames) == len(reader) > 0 and frames[0].dtype == np.uint8)


@fuzzed
@given(data=mutated(VALID["mp4"]))
def test_videos_to_be_rewritten(tmp_path: Path, data: bytes) -> None:
    source, target = tmp_path / "clip.mp4", tmp_path / "new.mkv"
    source.write_bytes(data)

    def rewrite() -> bool:
        check_rewritable(source)
        replace_frames(source, target, {})
        return True

    assert bool(outcome(rewrite)) == target.exists()
    target.unlink(missing_ok=True)
    assert os.listdir(tmp_path) == ["clip.mp4"]


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(FRAMES[0]).save(file, kind)
    return file.getvalue()


PICTURES = {kind: picture(kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}


@pytest.mark.parametrize("kind", PICTURES)
@fuzzed
@given(data=st.data())
def test_pictures(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    # The suffix promises nothing.
    path = tmp_path / "1.png"
    path.write_bytes(data.draw(st.one_of(mutated(PICTURES[kind]), st.binary(max_size=100))))
    image = outcome(lambda: read_image(path))
    assert image is None or (image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8)
    video = outcome(lambda: read_video(tmp_path))
    assert (video is None) == (image is None)


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="cannot be read: permission denied"):
        read_video(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "missing/" * 3])
def test_paths_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be read|no video at"):
        VideoReader(tmp_path / name)
