from dataclasses import replace

import numpy as np
import pytest
import torch

from src.pose.keypoints import PARTS, PoseSequence
from src.sampling.latent_editing import Edit, apply_edits, bounding_box, fit_affine, plan_edits, warp_latent

SIZE = 16


def make_pose(seed: int = 0) -> PoseSequence:
    """Face in the upper half, hands below to the sides, all seen."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0.3, 0.7, (1, 128, 2))
    xy[:, PARTS["face"]] = rng.uniform([0.3, 0.1], [0.7, 0.5], (68, 2))
    xy[:, PARTS["left_hand"]] = rng.uniform([0.7, 0.6], [0.9, 0.8], (21, 2))
    xy[:, PARTS["right_hand"]] = rng.uniform([0.1, 0.6], [0.3, 0.8], (21, 2))
    return PoseSequence(xy, np.ones((1, 128)), np.ones((1, 128), bool))


def moved(pose: PoseSequence, linear: np.ndarray, offset: np.ndarray) -> PoseSequence:
    return PoseSequence(pose.xy @ linear.T + offset, pose.confidence, pose.mask)


PARTS_EDITED = ("face", "left_hand", "right_hand")


def test_a_known_affine_map_is_recovered_in_latent_cells():
    linear, offset = np.array([[1.1, 0.2], [-0.1, 0.9]]), np.array([0.05, -0.02])
    pose = make_pose()
    edits, skipped = plan_edits(pose, moved(pose, linear, offset), PARTS_EDITED, SIZE, SIZE)
    assert [edit.part for edit in edits] == list(PARTS_EDITED) and not any(skipped.values())
    for edit in edits:
        np.testing.assert_allclose(edit.affine, np.column_stack([linear, offset * SIZE]), atol=1e-5)


def test_least_squares_of_noisy_landmarks_is_a_minimum():
    rng = np.random.default_rng(0)
    source, target = rng.random((68, 2)), rng.random((68, 2)) * 0.1
    target += source

    def error(affine: np.ndarray) -> float:
        return float(np.square(source @ affine[:, :2].T + affine[:, 2] - target).sum())

    affine = fit_affine(source, target)
    for _ in range(20):
        assert error(affine) < error(affine + rng.normal(0, 1e-3, (2, 3)))


def test_maps_that_must_not_be_used():
    points = np.random.default_rng(0).random((10, 2))
    assert fit_affine(points[:2], points[:2]) is None
    assert fit_affine(points * [1, 0], points) is None, "landmarks on a line"
    assert fit_affine(points, points * [-1, 1]) is None, "mirrored"
    assert fit_affine(points, points * [1, 0.05]) is None, "nearly flat"
    assert fit_affine(points, points * [1, 0.5]) is not None


def test_skipped_parts_are_counted():
    pose = make_pose()
    mask = pose.mask.copy()
    mask[:, PARTS["left_hand"].start + 2 : PARTS["left_hand"].stop] = False
    hidden = PoseSequence(pose.xy, pose.confidence, mask)
    edits, skipped = plan_edits(pose, PoseSequence.concatenate(pose, hidden), PARTS_EDITED, SIZE, SIZE)
    assert skipped == {"face": 0, "left_hand": 1, "right_hand": 0}
    assert [(e.frame, e.part) for e in edits if e.frame == 1] == [(1, "face"), (1, "right_hand")]


def test_the_reference_pose_itself_changes_nothing():
    pose, latent = make_pose(), torch.randn(4, SIZE, SIZE)
    edits, _ = plan_edits(pose, pose, PARTS_EDITED, SIZE, SIZE)
    edited = apply_edits(latent[None], latent, edits)
    torch.testing.assert_close(edited[0], latent, rtol=0, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_shift_by_whole_cells_copies_cells(interpolation):
    """The content follows the landmarks: what was at the reference's face is found at the target's."""
    pose, latent = make_pose(), torch.randn(4, SIZE, SIZE)
    dx, dy = 2, 3
    target = moved(pose, np.eye(2), np.array([dx, dy]) / SIZE)
    edits, _ = plan_edits(pose, target, ("face",), SIZE, SIZE)
    other = torch.randn(1, 4, SIZE, SIZE)
    edited = apply_edits(other, latent, edits, interpolation=interpolation)[0]
    left, top, right, bottom = edits[0].box
    expected = latent[:, top - dy : bottom - dy, left - dx : right - dx]
    torch.testing.assert_close(edited[:, top:bottom, left:right], expected, rtol=0, atol=1e-4)
    outside = torch.ones(SIZE, SIZE, dtype=bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(edited[:, outside], other[0][:, outside])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize(("dx", "dy"), [(2, 3), (-2, -1)])
def test_frames_that_are_higher_than_wide_go_on_by_reflection(interpolation, dx, dy):
    """A shift in units of the frame is one of its own cells, 12 in a row and 16 rows; past them they come again."""
    width, height, latent = 12, 16, torch.randn(4, 16, 12)
    pose = make_pose()
    edits, _ = plan_edits(pose, moved(pose, np.eye(2), np.array([dx / width, dy / height])), ("face",), width, height)
    np.testing.assert_allclose(edits[0].affine, [[1, 0, dx], [0, 1, dy]], atol=1e-5)
    left, top, right, bottom = edits[0].box
    assert left < right <= width and top < bottom <= height
    whole = replace(edits[0], box=(0, 0, width, height))
    padded = np.pad(latent.numpy(), ((0, 0), (3, 3), (2, 2)), mode="symmetric")
    expected = padded[:, 3 - dy : 3 - dy + height, 2 - dx : 2 - dx + width]
    found = apply_edits(torch.randn(1, 4, 16, 12), latent, [whole], interpolation=interpolation)[0]
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-4)


def test_the_box_is_the_smallest_that_holds_the_landmarks():
    points = make_pose().xy[0, PARTS["face"]] * SIZE
    left, top, right, bottom = bounding_box(points, SIZE, SIZE)
    assert ((points >= [left, top]) & (points <= [right, bottom])).all()
    assert (points[:, 0] < left + 1).any() and (points[:, 0] > right - 1).any()
    assert (points[:, 1] < top + 1).any() and (points[:, 1] > bottom - 1).any()
    assert bounding_box(points + 100, SIZE, SIZE) is None
    assert bounding_box(points - [4, 0], SIZE, SIZE)[0] == 0


def test_variance_of_warped_noise():
    """Bilinear warping by half a cell averages four cells: a quarter of the variance, unless it is preserved."""
    noise = torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(0))
    edit = Edit(0, "face", np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]), (8, 8, 56, 56))
    assert warp_latent(noise, edit).var() == pytest.approx(0.25, rel=0.02)
    assert warp_latent(noise, edit, preserve_variance=True).var() == pytest.approx(1, rel=0.02)
    assert warp_latent(noise, edit, interpolation="nearest").var() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("shift", [(0.5, 0.5), (-2.5, 0.3), (9.7, -0.2)])
def test_preserved_variance_is_that_of_noise_at_the_border_of_the_frame_too(shift):
    """Within half a cell of the border, and of its reflection, one cell is sampled and nothing is averaged."""
    noise = torch.randn(4096, 6, 7, generator=torch.Generator().manual_seed(0))
    edit = Edit(0, "face", np.column_stack([np.eye(2), shift]), (0, 0, 7, 6))
    variance = warp_latent(noise, edit, preserve_variance=True).var(0)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0, atol=0.15)
