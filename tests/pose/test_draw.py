"""Properties of the drawing that the ControlNet sees."""

import cv2
import numpy as np
import pytest

from src.pose.draw import draw_overlay, draw_poses
from src.pose.keypoints import BODY_NAMES, PARTS, PoseSequence

RIGHT_ELBOW, RIGHT_WRIST = BODY_NAMES.index("right_elbow"), BODY_NAMES.index("right_wrist")
LEFT_ELBOW, LEFT_WRIST = BODY_NAMES.index("left_elbow"), BODY_NAMES.index("left_wrist")


def poses_with(points: dict[int, tuple[float, float]], frames: int = 1) -> PoseSequence:
    xy, mask = np.zeros((frames, 128, 2)), np.zeros((frames, 128), bool)
    for index, place in points.items():
        xy[:, index], mask[:, index] = place, True
    return PoseSequence(xy, mask.astype(np.float32), mask)


def random_poses(frames: int = 2, seed: int = 0) -> PoseSequence:
    xy = np.random.default_rng(seed).uniform(0.05, 0.95, (frames, 128, 2))
    return PoseSequence(xy, np.ones((frames, 128)), np.ones((frames, 128), bool))


def pixel(frame: np.ndarray, x: float, y: float) -> list[int]:
    height, width = frame.shape[:2]
    return frame[int(y * height), int(x * width)].tolist()


def test_colours_are_openpose_s_by_side_and_part():
    """Known values of OpenPose's drawing, RGB: limbs at 0.6 of their colour, joints in full, face white."""
    arms = {RIGHT_ELBOW: (0.2, 0.3), RIGHT_WRIST: (0.2, 0.7), LEFT_ELBOW: (0.8, 0.3), LEFT_WRIST: (0.8, 0.7)}
    frame = draw_poses(poses_with(arms | {PARTS["face"].start: (0.5, 0.1)}), 512)[0]
    assert pixel(frame, 0.2, 0.5) == [153, 153, 0]  # right forearm
    assert pixel(frame, 0.8, 0.5) == [51, 153, 0]  # left forearm
    assert pixel(frame, 0.2, 0.7) == [170, 255, 0]  # right wrist
    assert pixel(frame, 0.8, 0.7) == [0, 255, 85]  # left wrist
    assert pixel(frame, 0.5, 0.1) == [255, 255, 255]
    hand = {PARTS["left_hand"].start: (0.4, 0.4), PARTS["left_hand"].start + 1: (0.6, 0.4)}
    frame = draw_poses(poses_with(hand), 512)[0]
    assert pixel(frame, 0.5, 0.4) == [255, 0, 0]  # first of the rainbow
    assert pixel(frame, 0.4, 0.4) == [0, 0, 255]  # joints of a hand


@pytest.mark.parametrize("side", [64, 128, 256, 1024])
def test_other_resolutions_are_the_same_picture_scaled(side):
    poses = random_poses()
    drawn = draw_poses(poses, side)
    for frame, reference in zip(drawn, draw_poses(poses, 512), strict=True):
        common = min(side, 512)
        small = [cv2.resize(f, (common, common), interpolation=cv2.INTER_AREA).astype(int) for f in (frame, reference)]
        assert np.abs(small[0] - small[1]).mean() < 4
    assert drawn.shape == (2, side, side, 3) and drawn.dtype == np.uint8


def test_widths_follow_the_short_side_of_any_aspect():
    """A wide picture holds the square's drawing of the same pixels."""
    square = random_poses(1)
    wide = square.transformed((0.5, 1.0), (0.0, 0.0))
    drawn = draw_poses(wide, (512, 1024))
    assert drawn.shape == (1, 512, 1024, 3)
    assert np.array_equal(drawn[0, :, :512], draw_poses(square, 512)[0])


def test_unseen_keypoints_leave_no_trace():
    everything, rng = random_poses(1), np.random.default_rng(1)
    mask = rng.random((1, 128)) < 0.5
    elsewhere = np.where(mask[..., None], everything.xy, rng.uniform(0, 1, (1, 128, 2)))
    a = draw_poses(PoseSequence(everything.xy, mask, mask), 512)
    b = draw_poses(PoseSequence(elsewhere, mask, mask), 512)
    assert np.array_equal(a, b) and a.any()
    assert not draw_poses(poses_with({}), 512).any()


def test_points_outside_the_frame_are_drawn_as_far_as_it_reaches():
    frame = draw_poses(poses_with({RIGHT_ELBOW: (0.5, 0.5), RIGHT_WRIST: (0.5, 1.5)}), 512)[0]
    assert pixel(frame, 0.5, 0.97) == [153, 153, 0]


def test_frames_are_independent():
    poses = random_poses(3)
    drawn = draw_poses(poses, 96)
    assert all(np.array_equal(drawn[i], draw_poses(poses[i], 96)[0]) for i in range(3))


def test_overlay_changes_the_drawing_s_pixels_alone():
    poses = random_poses(2)
    frames = np.random.default_rng(2).integers(0, 256, (2, 200, 300, 3), dtype=np.uint8)
    overlay = draw_overlay(frames, poses)
    blank = ~draw_poses(poses, (200, 300)).any(-1)
    assert np.array_equal(overlay[blank], frames[blank]) and not np.array_equal(overlay, frames)
    with pytest.raises(ValueError, match="2 frames cannot carry 3 poses"):
        draw_overlay(frames, random_poses(3))
