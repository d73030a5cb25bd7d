"""Limbs and torso in latent editing: pieces, their maps and rectangles; face and hands stay as they are."""

import numpy as np
import pytest
import torch

from src.pose.keypoints import BODY_NAMES, PARTS, PoseSequence
from src.sampling.latent_editing import apply_edits, fit_similarity, plan_edits
from src.sampling.parts import EDITED_PARTS, pieces_of

SIZE = 32
ALL = ("torso", "legs", "arms", "face", "left_hand", "right_hand")
DETAILS = ("face", "left_hand", "right_hand")
BONES = {
    "left_thigh": ("left_hip", "left_knee"), "left_shank": ("left_knee", "left_ankle"),
    "right_thigh": ("right_hip", "right_knee"), "right_shank": ("right_knee", "right_ankle"),
    "left_upper_arm": ("left_shoulder", "left_elbow"), "left_forearm": ("left_elbow", "left_wrist"),
    "right_upper_arm": ("right_shoulder", "right_elbow"), "right_forearm": ("right_elbow", "right_wrist"),
}  # fmt: skip


def similar(points: np.ndarray, scale: float, angle: float, shift: tuple[float, float]) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]]) + shift


@pytest.fixture
def poses(people_clip) -> PoseSequence:
    """Two poses with all keypoints: the first of the clip, smaller and on legs, and it turned with bent limbs."""
    body = people_clip[1][[0, 0]].transformed((0.5, 0.5), (0.25, 0.05))
    xy = body.xy.copy()
    for side, x in (("right", 0.42), ("left", 0.58)):
        for joint, y in (("hip", 0.5), ("knee", 0.7), ("ankle", 0.9)):
            xy[:, BODY_NAMES.index(f"{side}_{joint}")] = x, y
    xy[1] = similar(xy[1], 1.05, 0.1, (0.02, -0.04))
    xy[1, BODY_NAMES.index("left_ankle")] += (0.1, -0.05)
    xy[1, BODY_NAMES.index("right_wrist")] += (-0.05, 0.02)
    return PoseSequence(xy, np.ones((2, 128)), np.ones((2, 128), bool))


@pytest.mark.parametrize("count", [2, 5])
def test_a_known_similarity_is_recovered(count):
    points = np.random.default_rng(0).uniform(0, 20, (count, 2))
    target = similar(points, 1.3, 2.0, (4, -3))
    affine = fit_similarity(points, target)
    np.testing.assert_allclose(points @ affine[:, :2].T + affine[:, 2], target, atol=1e-9)
    assert np.linalg.det(affine[:, :2]) == pytest.approx(1.3**2)


def test_the_similarity_is_the_best_one():
    rng = np.random.default_rng(1)
    points, target = rng.uniform(0, 20, (2, 9, 2))

    def error(scale, angle, shift):
        return np.square(similar(points, scale, angle, shift) - target).sum()

    linear = fit_similarity(points, target)
    found = (np.hypot(*linear[:, 0]), np.arctan2(linear[1, 0], linear[0, 0]), linear[:, 2])
    for _ in range(20):
        ds, da, *dt = rng.normal(0, 1e-2, 4)
        assert error(*found) < error(found[0] + ds, found[1] + da, found[2] + dt)


def test_bones_without_a_direction_have_no_map():
    bone = np.array([[3.0, 3.0], [3.0, 9.0]])
    assert fit_similarity(bone[:1], bone[:1]) is None
    assert fit_similarity(bone, bone * [1, 0.1]) is None and fit_similarity(bone * [1, 0.1], bone) is None


def test_limbs_are_edited_bone_by_bone_and_their_joints_meet_the_target(poses):
    edits, skipped = plan_edits(poses[0], poses[1], ("legs", "arms"), SIZE, SIZE)
    assert {edit.part for edit in edits} == set(BONES) == set(skipped) and not any(skipped.values())
    for edit in edits:
        ends = [BODY_NAMES.index(name) for name in BONES[edit.part]]
        source, target = (p.xy[0, ends] * SIZE for p in (poses[0], poses[1]))
        np.testing.assert_allclose(source @ edit.affine[:, :2].T + edit.affine[:, 2], target, atol=1e-4)
        # A disc at either joint, a fifth of the bone's length in radius; the rectangle is no larger than they are.
        radius = 0.2 * np.hypot(*(target[1] - target[0]))
        low, high = np.floor(target.min(0) - radius), np.ceil(target.max(0) + radius)
        assert edit.box == (*low.clip(0), *high.clip(max=SIZE)), "as wide as the limb"


def test_large_parts_lie_below_face_and_hands(poses):
    edits, _ = plan_edits(poses[0], poses[1], ("face", "arms", "right_hand", "torso", "left_hand", "legs"), SIZE, SIZE)
    parts = [edit.part for edit in edits]
    assert parts[0] == "torso" and parts[-3:] == ["face", "right_hand", "left_hand"]
    assert {p.name for part in EDITED_PARTS for p in pieces_of((part,))} == set(parts)


def test_face_and_hands_are_edited_as_without_the_others(poses):
    alone, _ = plan_edits(poses[0], poses[1], DETAILS, SIZE, SIZE)
    among, _ = plan_edits(poses[0], poses[1], ALL, SIZE, SIZE)
    for a, b in zip(alone, among[-3:], strict=True):
        assert (a.part, a.box) == (b.part, b.box) and np.array_equal(a.affine, b.affine)
    reference = torch.randn(4, SIZE, SIZE)
    one, many = (apply_edits(torch.zeros(1, 4, SIZE, SIZE), reference, edits) for edits in (alone, among))
    for edit in alone:
        left, top, right, bottom = edit.box
        assert torch.equal(one[..., top:bottom, left:right], many[..., top:bottom, left:right])


def test_unseen_joints_skip_their_bones_and_no_others(poses):
    mask = poses.mask.copy()
    mask[1, BODY_NAMES.index("left_wrist")] = False
    mask[1, [BODY_NAMES.index("left_hip"), BODY_NAMES.index("right_hip")]] = False
    hidden = PoseSequence(poses.xy, poses.confidence, mask)
    _, skipped = plan_edits(hidden[0], hidden[1], ALL, SIZE, SIZE)
    assert {name for name, count in skipped.items() if count} == {
        "torso", "left_thigh", "right_thigh", "left_forearm"
    }  # fmt: skip


def test_the_torso_is_one_affine_map_of_shoulders_and_hips(poses):
    linear, offset = np.array([[1.1, 0.1], [0.0, 0.9]]), np.array([0.02, 0.03])
    moved = PoseSequence(poses.xy @ linear.T + offset, poses.confidence, poses.mask)
    (edit,), _ = plan_edits(poses[0], moved[0], ("torso",), SIZE, SIZE)
    np.testing.assert_allclose(edit.affine, np.column_stack([linear, offset * SIZE]), atol=1e-4)
    assert not set(EDITED_PARTS["torso"][0].keypoints) - set(range(PARTS["body"].stop))
