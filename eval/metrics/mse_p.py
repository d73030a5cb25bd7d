"""MSE-P: distance between the poses found in generated and in real frames."""

from typing import ClassVar

import torch
from torch import Tensor

from eval.metrics.base import MeanMetric, NotComputable
from src.common.counting import counted
from src.common.errors import UserError
from src.pose.keypoints import PoseSequence


def squared_differences(generated: PoseSequence, real: PoseSequence) -> Tensor:
    """Squared coordinate differences over keypoints seen in both poses of a frame.

    Returns:
        (2 P,) float64 in squared units of the frame, x and y of each of the P pairs.

    Raises:
        UserError: the sequences differ in length.
    """
    check_lengths(generated, real)
    both = generated.mask & real.mask
    difference = generated.xy[both].astype("float64") - real.xy[both].astype("float64")
    return torch.from_numpy(difference**2).flatten()


def check_lengths(generated: PoseSequence, real: PoseSequence) -> None:
    """Refuse sequences of different length.

    Raises:
        UserError: says both.
    """
    if len(generated) != len(real):
        raise UserError(
            f"MSE-P compares frame by frame, but there are {len(generated)} and {counted(len(real), 'pose')}"
        )


class MSEP(MeanMetric):
    """Mean squared difference of keypoint coordinates over all frames and keypoints seen in both.

    Range [0, inf), lower is better, 0 for equal poses, in squared units of the frame (x by width, y by height).
    Resolution: the extractor's. Colour: 8-bit RGB. Pooling: mean over coordinates of all frames together. A
    generated frame without a person has no keypoint to be wrong about, so the share of the real keypoints that were
    found in the generated frames is reported beside the value as `seen`. Network: the protocol's pose extractor, by
    default DWPose with its 128 keypoints. Source: the paper's Sec. 5.1.
    """

    unit: ClassVar[str] = "keypoints"

    def __init__(self) -> None:
        super().__init__()
        self.add_state("real_keypoints", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, generated: PoseSequence, real: PoseSequence) -> None:
        """Add the poses of one video."""
        self._add(squared_differences(generated, real).to(self.total.device), frames=len(generated))
        self.real_keypoints += int(real.mask.sum())

    def compute(self) -> Tensor:
        """() float64.

        Raises:
            NotComputable: no keypoint was seen in both poses of any frame.
        """
        if self.count == 0:
            raise NotComputable("no keypoint was found in a generated and its real frame alike")
        return super().compute()

    def details(self) -> dict[str, int | float | str]:
        return super().details() | {"seen": int(self.count) / 2 / int(self.real_keypoints)}
