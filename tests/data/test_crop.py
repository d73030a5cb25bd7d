"""A crop moves the picture and the keypoints alike."""

import numpy as np
import pytest

from src.data.crop import CropBox, crop_box, crop_frame, crop_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence


def sequence(points_FN2: np.ndarray) -> PoseSequence:
    """F poses whose first N keypoints are seen."""
    points = np.asarray(points_FN2, np.float32)
    xy = np.zeros((len(points), NUM_KEYPOINTS, 2), np.float32)
    mask = np.zeros((len(points), NUM_KEYPOINTS), bool)
    xy[:, : points.shape[1]], mask[:, : points.shape[1]] = points, True
    return PoseSequence(xy, mask.astype(np.float32), mask)


def blob(width: int, height: int, x: float, y: float, sigma: float) -> np.ndarray:
    """A frame with one white blob centred at (x, y), in units of the frame."""
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    value = np.exp(-((columns[None] - x * width) ** 2 + (rows[:, None] - y * height) ** 2) / (2 * sigma**2))
    return np.repeat((255 * value).round().astype(np.uint8)[..., None], 3, -1)


def centre(frame: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) in units of the frame."""
    weight = frame[..., 0].astype(float)
    columns, rows = (
        (np.arange(frame.shape[1]) + 0.5) / frame.shape[1],
        (np.arange(frame.shape[0]) + 0.5) / frame.shape[0],
    )
    return np.array([(weight.sum(0) * columns).sum(), (weight.sum(1) * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("size", [(320, 180), (181, 321), (200, 200)])
@pytest.mark.parametrize("mode", ["person", "center", "pad"])
@pytest.mark.parametrize("resolution", [64, 97, 256])
def test_a_marker_ends_up_where_its_keypoint_says(size, mode, resolution):
    width, height = size
    marker = (0.52, 0.47)
    poses = sequence([[marker, (0.4, 0.35), (0.62, 0.66)]])
    box = crop_box(poses, width=width, height=height, mode=mode, min_side=32)
    moved = crop_poses(poses, box, width=width, height=height)
    picture = crop_frame(blob(width, height, *marker, 5.0), box, resolution)
    assert picture.shape == (resolution, resolution, 3) and picture.dtype == np.uint8
    assert moved.mask[0, 0]
    # A tenth of a pixel of the result.
    assert np.abs(centre(picture) - moved.xy[0, 0]).max() < 0.1 / resolution


def test_person_box_covers_everyone_over_all_frames():
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = rng.integers(60, 400, 2).tolist()
        if width == height:
            continue
        low, high = np.sort(rng.random((2, 2)), 0)
        poses = sequence(rng.uniform(low, high, (5, 9, 2)))
        box = crop_box(poses, width=width, height=height, mode="person", min_side=48)
        assert min(48, width, height) <= box.side <= min(width, height)
        assert 0 <= box.left <= width - box.side and 0 <= box.top <= height - box.side
        seen = poses.xy[poses.mask]
        low, high = seen.min(0) * (width, height), seen.max(0) * (width, height)
        if (high - low).max() * 1.3 < box.side - 2:
            assert crop_poses(poses, box, width=width, height=height).mask.sum() == poses.mask.sum()


def test_person_box_is_centred_where_there_is_room():
    poses = sequence([[(0.45, 0.4), (0.55, 0.6)]])
    box = crop_box(poses, width=1600, height=900, mode="person", min_side=64)
    assert abs(box.left + box.side / 2 - 800) <= 1 and abs(box.top + box.side / 2 - 450) <= 1
    assert box.side == round(180 * 1.3)


def test_a_person_taller_than_the_frame_is_wide_keeps_the_head():
    poses = sequence([[(0.5, 0.2), (0.5, 0.95)]])
    box = crop_box(poses, width=1080, height=1920, mode="person", min_side=512)
    assert box.side == 1080
    assert box.top == round(0.2 * 1920 - 0.15 * 1080), "room for the hair above the highest keypoint"
    moved = crop_poses(poses, box, width=1080, height=1920)
    assert moved.mask[0, :2].tolist() == [True, False], "what is cut off is unseen"


def test_square_frames_stay_whole():
    poses = sequence([[(0.1, 0.1), (0.2, 0.2)]])
    for mode in ("person", "center", "pad"):
        box = crop_box(poses, width=384, height=384, mode=mode, min_side=64)
        assert box == CropBox(0, 0, 384)
        assert np.array_equal(crop_poses(poses, box, width=384, height=384).xy, poses.xy)
    frame = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    assert np.array_equal(crop_frame(frame, CropBox(0, 0, 384), 384), frame)


def test_pad_keeps_everything_on_black():
    frame = np.full((30, 50, 3), 200, np.uint8)
    box = crop_box(sequence([[(0, 0), (1, 1)]]), width=50, height=30, mode="pad", min_side=8)
    picture = crop_frame(frame, box, 50)
    assert picture[10:40].min() == 200 and picture[:10].max() == 0 and picture[40:].max() == 0
    assert crop_poses(sequence([[(0, 0), (1, 1)]]), box, width=50, height=30).mask.sum() == 2


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(crop_frame(stripes, CropBox(0, 0, 256), 64)[8:-8, 8:-8].astype(int) - 127).max() <= 2
