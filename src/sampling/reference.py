"""Reference-frame selection (Sec. 4.2, Eq. 5).

Dimensions: N training frames, M target poses, K keypoints.
"""

import numpy as np

from src.errors import UserError
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
        shared_MK = training.mask[i] & target.mask
        if shared_MK.any():
            squared_MK = np.square(training.xy[i].astype(np.float64) - target.xy).sum(-1)
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
