"""How far poses are from anything seen in training, where quality degrades (the paper's limitations).

Dimensions: M target poses, N training poses.
"""

from dataclasses import dataclass

import numpy as np

from src.common.counting import counted, named_frames
from src.pose.keypoints import PoseSequence

FAR_FACTOR = 1.5


@dataclass(frozen=True, eq=False)
class DistanceToTraining:
    """Distances of target poses to the training poses.

    Attributes:
        distance: (M,) to the nearest training pose: the root of the mean squared distance over the keypoints seen in
            both, in units of the frame; infinite where there are none.
        nearest: (M,) which training pose that is.
        threshold: distance beyond which a pose is far: 1.5 times the largest distance of a training pose to the
            nearest other one; None with fewer than two training poses.
        far: frames beyond it, rising.
    """

    distance: np.ndarray
    nearest: np.ndarray
    threshold: float | None
    far: list[int]

    def describe(self) -> str:
        """What is to be said about it, in one line."""
        blank = np.flatnonzero(np.isinf(self.distance)).tolist()
        far = [frame for frame in self.far if frame not in blank]
        if self.threshold is None:
            said = "one training pose has no spread that target poses could be compared with"
        elif not far:
            said = f"no target pose is far from the training poses (threshold {self.threshold:.3f} of the frame)"
        else:
            said = (
                f"{len(far)} of {counted(len(self.distance), 'target pose')} {'is' if len(far) == 1 else 'are'} far "
                f"from every training pose (more than {self.threshold:.3f} of the frame, up to "
                f"{self.distance[far].max():.3f}), which degrades quality: {named_frames(far)}"
            )
        return f"{said}; nothing that a training pose shows is seen in {named_frames(blank)}" if blank else said


def distance_to_training(poses: PoseSequence, training: PoseSequence) -> DistanceToTraining:
    """Compare M target poses with the N training poses."""
    distance_MN = _distances(poses, training)
    distance = distance_MN.min(1)
    threshold, far = None, []
    if len(training) > 1:
        among_NN = _distances(training, training)
        np.fill_diagonal(among_NN, np.inf)
        spread_N = among_NN.min(1)
        finite = spread_N[np.isfinite(spread_N)]
        threshold = FAR_FACTOR * float(finite.max()) if len(finite) else None
    if threshold is not None:
        far = np.flatnonzero(distance > threshold).tolist()
    return DistanceToTraining(distance, distance_MN.argmin(1), threshold, far)


def squared_distances(pose: PoseSequence, poses: PoseSequence) -> tuple[np.ndarray, np.ndarray]:
    """Compare one pose with M others, keypoint by keypoint.

    Args:
        pose: a sequence of one frame.
        poses: M poses.

    Returns:
        (M, K) float64 squared distances in squared units of the frame, and (M, K) bool, which keypoints both show: the
        others' values mean nothing.
    """
    squared_MK = np.square(poses.xy.astype(np.float64) - pose.xy[0]).sum(-1)
    return squared_MK, poses.mask & pose.mask[0]


def _distances(a: PoseSequence, b: PoseSequence) -> np.ndarray:
    """(len(a), len(b)) root mean squared distances, infinite without a shared keypoint."""
    out = np.full((len(a), len(b)), np.inf)
    for j in range(len(b)):
        squared, shared = squared_distances(b[j], a)
        count = shared.sum(1)
        out[count > 0, j] = np.sqrt((squared * shared).sum(1)[count > 0] / count[count > 0])
    return out
