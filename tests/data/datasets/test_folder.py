"""Any clips in a folder."""

from pathlib import Path

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.datasets.folder import Folder
from src.media.video import write_frames, write_video

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
    assert files(tmp_path) == {"clips_001": "a", "clips_002": "b2.mp4", "clips_003": "b10.mp4"}
    assert files(tmp_path, "b*") == {"clips_001": "b2.mp4", "clips_002": "b10.mp4"}


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no clip that matches dataset.pattern=x\*"):
        files(tmp_path, "x*")
    with pytest.raises(UserError, match="is no folder"):
        files(tmp_path / "absent")
