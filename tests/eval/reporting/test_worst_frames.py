"""The worst face and hands of a video, also where its frames have another size than the true ones."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.reporting.worst_frames import SHOWN_HEIGHT, worst_frames
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.formats import save_poses


@pytest.mark.parametrize("size", [(256, 256), (128, 128), (96, 160)])
def test_frames_of_another_size_are_cut_at_the_same_place(tmp_path: Path, size: tuple[int, int]) -> None:
    real, poses = render_clip(sample_identity(3), "talk", 4, 256, 3)
    save_poses(tmp_path / "poses.npz", poses, fps=10)
    height, width = size
    generated = np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in real])
    x, y = (poses.xy[2, 18:86].mean(0) * [width, height]).astype(int)
    generated[2, y - height // 50 : y + height // 50, x - width // 50 : x + width // 50] = (0, 255, 0)
    found = {worst.region: worst for worst in worst_frames("ours", generated, real, tmp_path / "poses.npz")}
    assert found["face"].frame == 2, "the frame that was damaged"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["face"].data))).convert("RGB")).astype(int)
    assert picture.shape[0] == SHOWN_HEIGHT
    true, ours = np.split(picture, 2, axis=1)
    green = (ours[..., 1] - ours[..., [0, 2]].max(-1) > 100) & (true[..., 1] - true[..., [0, 2]].max(-1) < 50)
    at = np.argwhere(green).mean(0) / green.shape
    np.testing.assert_allclose(at, 0.5, atol=0.12, err_msg="the damage is in the middle of the cut")
    assert np.abs(true - ours)[~green].mean() < 20, "and around it both show the same"


def test_another_number_of_frames_has_none(tmp_path: Path) -> None:
    real, poses = render_clip(sample_identity(3), "talk", 4, 64, 3)
    save_poses(tmp_path / "poses.npz", poses, fps=10)
    assert worst_frames("ours", real[:3] ^ 1, real, tmp_path / "poses.npz") == []
