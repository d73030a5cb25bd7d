import itertools

import numpy as np
import pytest

from src.common.errors import UserError
from src.pose.keypoints import PoseSequence
from src.sampling.reference import cut_segments, pose_distances, select_reference


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


def near(training: PoseSequence, order: list[int], noise: float = 0.01) -> PoseSequence:
    """Poses near the training poses of these numbers."""
    rng = np.random.default_rng(5)
    close = training[order]
    return PoseSequence(close.xy + rng.normal(0, noise, close.xy.shape), close.confidence, close.mask)


def test_segments_follow_the_nearest_training_pose():
    training = make_poses(4, 0)
    target = near(training, [2] * 10 + [0] * 14 + [3] * 9)
    assert cut_segments(training, target, min_frames=8) == [(0, 10), (10, 24), (24, 33)]
    references = [select_reference(training, target[a:b])[0] for a, b in ((0, 10), (10, 24), (24, 33))]
    assert references == [2, 0, 3]


def test_no_segment_is_shorter_than_asked_and_together_they_are_all_frames():
    training, rng = make_poses(5, 0), np.random.default_rng(2)
    for length in (1, 7, 15, 16, 40, 61):
        target = near(training, rng.integers(0, 5, length).tolist())
        cuts = cut_segments(training, target, min_frames=8)
        assert cuts[0][0] == 0 and cuts[-1][1] == length
        assert all(a[1] == b[0] for a, b in itertools.pairwise(cuts))
        assert len(cuts) == 1 or min(b - a for a, b in cuts) >= 8


def test_segments_are_the_best_of_all_ways_to_cut():
    """Brute force over every set of cuts, with the cost that the documentation states."""
    training, rng = make_poses(3, 0, seen=1), np.random.default_rng(3)
    for _ in range(6):
        length, least = 11, 3
        target = near(training, np.repeat(rng.integers(0, 3, 4), 3)[:length].tolist(), noise=0.15)
        distances = np.stack([pose_distances(training, target[j]) for j in range(length)], 1)
        cost_of_cut = least * distances.sum(1).min() / length

        def cost(cuts, distances=distances, cost_of_cut=cost_of_cut):
            return sum(distances[:, a:b].sum(1).min() for a, b in cuts) + cost_of_cut * (len(cuts) - 1)

        ways = []
        for count in range(length // least):
            for inner in itertools.combinations(range(1, length), count):
                cuts = list(itertools.pairwise((0, *inner, length)))
                if min(b - a for a, b in cuts) >= least or count == 0:
                    ways.append(cuts)
        assert cost(cut_segments(training, target, min_frames=least)) == pytest.approx(min(map(cost, ways)), rel=1e-9)


def test_like_poses_and_poses_without_anyone_are_not_cut():
    training = make_poses(4, 0)
    assert cut_segments(training, near(training, [1] * 40), min_frames=8) == [(0, 40)]
    assert cut_segments(training, training[[1] * 40], min_frames=8) == [(0, 40)]
    nobody = PoseSequence(training.xy, training.confidence, np.zeros_like(training.mask))
    assert cut_segments(training, nobody[[0] * 40], min_frames=8) == [(0, 40)]
    gap = PoseSequence.concatenate(near(training, [1] * 20), nobody[[0] * 4], near(training, [1] * 20))
    assert cut_segments(training, gap, min_frames=4) == [(0, 44)]
