"""Reference-frame selection (Sec. 4.2, Eq. 5), for all target poses or for each segment of them.

Dimensions: N training frames, M target poses, K keypoints.
"""

import itertools

import numpy as np

from src.common.errors import UserError
from src.pose.distance import squared_distances
from src.pose.keypoints import PoseSequence


def pose_distances(training: PoseSequence, target: PoseSequence) -> np.ndarray:
    """Distance of each training pose to all target poses (the sum in Eq. 5).

    Only keypoints seen in both poses count; the summed squared distance is divided by their number.

    Args:
        training: N poses q_i.
        target: M poses p_j.

    Returns:
        (N,) float64 in squared units of the frame; infinite where a training pose shares no keypoint with any target.

    >>> seen, sure = np.ones((1, 128), bool), np.ones((1, 128))
    >>> origin, moved = (PoseSequence(np.full((1, 128, 2), v), sure, seen) for v in (0.0, 0.5))
    >>> pose_distances(PoseSequence.concatenate(moved, origin), origin)
    array([0.5, 0. ])
    """
    distances = np.full(len(training), np.inf)
    for i in range(len(training)):
        squared_MK, shared_MK = squared_distances(training[i], target)
        if shared_MK.any():
            distances[i] = squared_MK[shared_MK].mean()
    return distances


def select_reference(training: PoseSequence, target: PoseSequence) -> tuple[int, np.ndarray]:
    """r = argmin_i Σ_j ‖q_i − p_j‖² (Eq. 5): the training frame whose pose is closest to the target poses.

    Returns:
        The index r in [0, N), the first of equals, and the N distances.

    Raises:
        UserError: no training pose shares a seen keypoint with any target pose.
    """
    distances = pose_distances(training, target)
    if not np.isfinite(distances).any():
        raise UserError(
            "no training pose shares a seen keypoint with the target poses: check that both show a person, or set "
            "method.reference_selection=false"
        )
    return int(distances.argmin()), distances


def cut_segments(training: PoseSequence, target: PoseSequence, *, min_frames: int) -> list[tuple[int, int]]:
    """Cut the target poses into segments such that each has a training frame close to its poses.

    The sum over all target poses of the squared distance to the training pose of their segment, plus a cost for every
    cut, is the least possible (dynamic programming over training frame and time, O(N M)). Every reference is another
    latent to start from, and a cut may show. So a cut costs as much as `min_frames` poses at the mean distance that
    the best single reference leaves: it is made where that much is gained, and never in poses all alike.

    Args:
        training: N poses q_i.
        target: M poses p_j.
        min_frames: least length of a segment; with fewer than twice as many target poses there is one segment.

    Returns:
        (first, stop) of the segments in the order of time, which together are [0, M).
    """
    distances_NM, num_frames = _pairwise_distances(training, target), len(target)
    sums_NM = np.concatenate([np.zeros((len(training), 1)), distances_NM.cumsum(1)], 1)
    cut_cost = min_frames * sums_NM[:, -1].min() / num_frames
    if num_frames < 2 * min_frames or cut_cost == 0:
        return [(0, num_frames)]
    # Least cost of the first j poses: of a last segment with reference i, and over all i. A cut needs a gain.
    with_last_N = np.full(len(training), np.inf)
    begun_N = np.zeros(len(training), int)
    best, best_begun = np.full(num_frames + 1, np.inf), np.zeros(num_frames + 1, int)
    best[0] = -cut_cost
    for j in range(min_frames, num_frames + 1):
        start = j - min_frames
        longer_N = with_last_N + distances_NM[:, j - 1]
        new_N = best[start] + cut_cost + sums_NM[:, j] - sums_NM[:, start]
        with_last_N = np.minimum(longer_N, new_N)
        begun_N = np.where(new_N < longer_N, start, begun_N)
        i = with_last_N.argmin()
        best[j], best_begun[j] = with_last_N[i], begun_N[i]
    cuts = [num_frames]
    while cuts[-1]:
        cuts.append(int(best_begun[cuts[-1]]))
    return list(itertools.pairwise(reversed(cuts)))


def _pairwise_distances(training: PoseSequence, target: PoseSequence) -> np.ndarray:
    """(N, M) mean squared distances over the keypoints seen in both; finite.

    A training pose that shares no keypoint with a target pose is as far from it as the farthest that does; a target
    pose that shares none with any is equally far, 0, from all.
    """
    distances_NM = np.stack([pose_distances(training, target[j]) for j in range(len(target))], 1)
    shared_NM = np.isfinite(distances_NM)
    worst_M = np.where(shared_NM, distances_NM, 0).max(0)
    return np.where(shared_NM, distances_NM, worst_M)
