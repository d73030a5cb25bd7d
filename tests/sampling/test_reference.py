import numpy as np
import pytest

from src.errors import UserError
from src.pose.keypoints import PoseSequence
from src.sampling.reference import pose_distances, select_reference


def make_poses(num_frames: int, seed: int, seen: float = 0.7) -> PoseSequence:
    rng = np.random.default_rng(seed)
    mask = rng.random((num_frames, 128)) < seen
    return PoseSequence(rng.random((num_frames, 128, 2)), rng.random((num_frames, 128)), mask)


def test_distances_are_those_of_plain_loops():
    training, target = make_poses(4, 0), make_poses(6, 1)
    for i, distance in enumerate(pose_distances(training, target)):
        total, count = 0.0, 0
        for j in range(6):
            for k in range(128):
                if training.mask[i, k] and target.mask[j, k]:
                    total += ((training.xy[i, k].astype(float) - target.xy[j, k]) ** 2).sum()
                    count += 1
        assert distance == pytest.approx(total / count, rel=1e-12)


def test_the_training_frame_among_the_targets_is_found():
    training = make_poses(8, 0)
    r, distances = select_reference(training, PoseSequence.concatenate(training[5], training[5]))
    assert r == 5 and distances[5] == 0


def test_unseen_keypoints_have_no_say():
    training, target = make_poses(3, 0), make_poses(2, 1)
    moved = PoseSequence(np.where(training.mask[..., None], training.xy, 99), training.confidence, training.mask)
    assert np.array_equal(pose_distances(moved, target), pose_distances(training, target))


def test_a_training_pose_that_shares_nothing_is_never_chosen():
    training, target = make_poses(2, 0), make_poses(3, 1)
    mask = training.mask.copy()
    mask[0] = False
    r, distances = select_reference(PoseSequence(training.xy, training.confidence, mask), target)
    assert r == 1 and np.isinf(distances[0])
    nothing = PoseSequence(training.xy, training.confidence, np.zeros_like(mask))
    with pytest.raises(UserError, match="no training pose shares a seen keypoint"):
        select_reference(nothing, target)
