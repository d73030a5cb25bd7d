"""Any clips in a folder."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest

from src.common.errors import UserError
from src.data.datasets.folder import Folder
from src.media.video import VideoReader, write_frames, write_video

FRAMES = np.zeros((2, 16, 16, 3), np.uint8)


def files(root: Path, pattern: str = "*") -> dict[str, str]:
    clips = Folder(name="clips", root=str(root), pattern=pattern, num_published_clips=None, fps=None).clips()
    assert all(clip.fetch() == root / clip.source["file"] for clip in clips)
    return {clip.name: clip.source["file"] for clip in clips}


def test_videos_and_folders_in_natural_order(tmp_path: Path) -> None:
    for name in ("b10.mp4", "b2.mp4"):
        write_video(tmp_path / name, FRAMES, 10)
    write_frames(tmp_path / "a", FRAMES)
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/._1.png").write_bytes(b"macOS")
    assert files(tmp_path) == {"clips_001": "a", "clips_002": "b2.mp4", "clips_003": "b10.mp4"}
    assert files(tmp_path, "b*") == {"clips_001": "b2.mp4", "clips_002": "b10.mp4"}


def test_every_video_that_is_read_is_a_clip_and_what_is_not_is_said(tmp_path: Path, caplog) -> None:
    codecs = {"3gp": "libx264", "flv": "flv", "wmv": "wmv2", "mts": "mpeg2video", "m2ts": "mpeg2video"}
    codecs |= {"vob": "mpeg2video", "mxf": "mpeg2video", "m2v": "mpeg2video", "y4m": "rawvideo", "MP4": "libx264"}
    for suffix, codec in codecs.items():
        with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for frame in np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())
        assert len(VideoReader(tmp_path / f"a.{suffix}")) == 12
    for name in ("none.avj", "notes.txt", ".DS_Store"):
        (tmp_path / name).touch()
    caplog.set_level(logging.INFO)
    assert set(files(tmp_path).values()) == {f"a.{suffix}" for suffix in codecs}
    said = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert len(said) == 1 and said[0].endswith(": none.avj, notes.txt")


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no clip that matches dataset.pattern=x\*"):
        files(tmp_path, "x*")
    with pytest.raises(UserError, match="is no folder"):
        files(tmp_path / "absent")
