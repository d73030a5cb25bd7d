"""MSE-P that a person who is not found does not improve."""

from typing import ClassVar

import torch
from torch import Tensor

from eval.metrics.base import MeanMetric, NotComputable
from eval.metrics.mse_p import check_lengths
from src.pose.keypoints import PoseSequence


def penalised_differences(generated: PoseSequence, real: PoseSequence) -> Tensor:
    """Squared coordinate differences over all keypoints seen in the real poses.

    Where the generated pose lacks one, it is taken at the middle of the true pose's seen keypoints: what somebody says
    who knows where the person is and nothing of how they stand. No less is charged for a keypoint that was found.

    Returns:
        (2 P,) float64 in squared units of the frame, x and y of each of the P keypoints.

    Raises:
        UserError: the sequences differ in length.
    """
    check_lengths(generated, real)
    squares = [torch.zeros(0, dtype=torch.float64)]
    for frame in range(len(real)):
        seen_K = real.mask[frame]
        if not seen_K.any():
            continue
        true_K2 = real.xy[frame][seen_K].astype("float64")
        found_K2 = generated.xy[frame][seen_K].astype("float64")
        lost_K = ~generated.mask[frame][seen_K]
        found_K2[lost_K] = true_K2.mean(0)
        squares.append(torch.from_numpy((found_K2 - true_K2) ** 2).flatten())
    return torch.cat(squares)


class PenalisedMSEP(MeanMetric):
    """Mean squared difference of keypoint coordinates over all keypoints seen in the real frames.

    Range [0, inf), lower is better, 0 for equal poses, in squared units of the frame (x by width, y by height).
    Resolution: the extractor's. Colour: 8-bit RGB. Pooling: mean over coordinates of all frames together. Network: that
    of the MSE-P of the same name. Source: ours; beside the paper's MSE-P, which leaves lost keypoints out, so that a
    video without a person in it can have the best value.
    """

    unit: ClassVar[str] = "keypoints"

    def update(self, generated: PoseSequence, real: PoseSequence) -> None:
        """Add the poses of one video."""
        self._add(penalised_differences(generated, real).to(self.total.device), frames=len(generated))

    def compute(self) -> Tensor:
        """() float64.

        Raises:
            NotComputable: no keypoint was seen in any real frame.
        """
        if self.count == 0:
            raise NotComputable("no keypoint was found in any real frame")
        return super().compute()
