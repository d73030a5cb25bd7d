"""Flicker and warping error: brute force, known motion, and what each must notice."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from eval.metrics.base import NotComputable
from eval.metrics.flicker import Flicker
from eval.metrics.warping import WarpingError, visible, warped, warping_error
from tests.eval.conftest import smooth_frames, to_tensor


def test_flicker_is_vbenchs(real_frames: np.ndarray) -> None:
    # vbench/temporal_flickering.py: mean of cv2.absdiff, then (255 - score) / 255.
    absolute = [np.mean(cv2.absdiff(a, b)) for a, b in pairwise(real_frames)]
    metric = Flicker()
    metric.update(to_tensor(real_frames))
    assert metric.compute().item() == pytest.approx((255 - np.mean(absolute)) / 255, rel=1e-12)
    metric.update(to_tensor(real_frames[:1]).expand(3, -1, -1, -1))
    assert metric.details() == {"frames": 7, "videos": 2}
    assert metric.compute().item() == pytest.approx(((255 - np.mean(absolute)) / 255 + 1) / 2, rel=1e-12)
    with pytest.raises(NotComputable, match="at least 2"):
        Flicker().update(to_tensor(real_frames[:1]))


def shift_flow(count: int, size: int, x: float, y: float = 0.0) -> torch.Tensor:
    return torch.tensor([x, y])[None, :, None, None].expand(count, 2, size, size).clone()


def test_warping_follows_the_flow_like_opencv(real_frames: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    flow = cv2.GaussianBlur(generator.normal(0, 40, (128, 128, 2)).astype(np.float32), (0, 0), 8)
    columns, rows = np.meshgrid(np.arange(128, dtype=np.float32), np.arange(128, dtype=np.float32))
    theirs = cv2.remap(
        real_frames[0].astype(np.float32),
        columns + flow[..., 0],
        rows + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    flow_12HW = torch.from_numpy(flow).permute(2, 0, 1)[None]
    ours, inside = warped(to_tensor(real_frames[:1]).double(), flow_12HW.double())
    # OpenCV rounds the position to a 32nd of a pixel.
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).mean() < 0.6
    assert 0.5 < inside.double().mean() < 1


def test_a_video_that_only_moves_has_no_warping_error() -> None:
    frames = to_tensor(smooth_frames(5, 96, 0))  # two pixels to the left a frame
    forward, backward = shift_flow(4, 96, -2), shift_flow(4, 96, 2)
    metric = WarpingError()
    metric.update([(frames[:-1], frames[1:], forward, backward)])
    assert metric.compute().item() == pytest.approx(0, abs=1e-10)
    assert metric.details() == {"frames": 5, "videos": 1}
    still = WarpingError()
    still.update([(frames[:-1], frames[1:], 0 * forward, 0 * backward)])
    assert still.compute().item() > 1e-4, "with the wrong flow the same video is far from itself"


def test_warping_error_counts_what_both_frames_show() -> None:
    frames = to_tensor(smooth_frames(2, 64, 1))
    forward, backward = shift_flow(1, 64, -2), shift_flow(1, 64, 2)
    mask = visible(forward, backward)[0]
    assert not mask[:, :2].any() and mask[:, 2:].all(), "what leaves the frame at the left is not seen again"
    disagreeing = backward.clone()
    disagreeing[0, 0, 20:30, 20:30] = -30  # the way back does not lead home: occluded
    assert not visible(forward, disagreeing)[0, 22:28, 24:30].any()
    noisy = frames.clone()
    noisy[1, :, 20:28, 20:28] ^= 64
    # Brute force over the pixels of the mask.
    before, after = frames[0].double() / 255, noisy[1].double() / 255
    squares = [
        ((after[:, row, column - 2] - before[:, row, column]) ** 2).mean()
        for row in range(64)
        for column in range(64)
        if mask[row, column]
    ]
    value = warping_error(frames[:1], noisy[1:], forward, backward)
    assert value.item() == pytest.approx(float(torch.stack(squares).mean()), rel=1e-9)
    assert value.item() > 0


def test_warping_error_needs_something_seen_twice() -> None:
    frames = to_tensor(smooth_frames(2, 64, 1))
    with pytest.raises(NotComputable, match="no pixel"):
        WarpingError().update([(frames[:1], frames[1:], shift_flow(1, 64, 200), shift_flow(1, 64, -200))])
    with pytest.raises(NotComputable, match="at least 2"):
        WarpingError().update([])
