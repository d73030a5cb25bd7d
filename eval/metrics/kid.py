"""KID: kernel inception distance between all generated and all real frames of a data set."""

from typing import ClassVar

import torch
from torch import Tensor

from eval.metrics.samples import SampleMetric

BLOCK = 1024


def _kernel_sum(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Sum of (x·y / D + 1)³ over all pairs, () float64, without an N × M matrix."""
    dimensions = x_ND.shape[1]
    total = torch.zeros((), dtype=torch.float64, device=x_ND.device)
    for block in x_ND.split(BLOCK):
        total += (block @ y_MD.T / dimensions + 1).pow(3).sum()
    return total


def kernel_distance(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / D + 1)³ (Bińkowski et al. 2018, Eq. 4).

    Of all samples, where the usual code takes the mean of 100 random subsets of 1,000: the same expectation without
    the draws' noise, and the same number where both sides have equally many samples, at most 1,000.

    Args:
        x_ND, y_MD: (N, D) and (M, D) float64, at least 2 samples each.

    Returns:
        () float64; below 0 where the sets are closer than chance.
    """
    count_x, count_y = len(x_ND), len(y_MD)
    own = [
        (_kernel_sum(side, side) - (side.square().sum(1) / side.shape[1] + 1).pow(3).sum())
        / (len(side) * (len(side) - 1))
        for side in (x_ND, y_MD)
    ]
    return own[0] + own[1] - 2 * _kernel_sum(x_ND, y_MD) / (count_x * count_y)


class KID(SampleMetric):
    """Kernel distance of Inception-v3 features.

    Range: about 0 and up, lower is better; unlike FID its expectation does not depend on the number of samples, so it
    may be below 0. Resolution: resized to 299 x 299 as for FID. Colour: 8-bit RGB. Pooling: all frames of all videos
    form one set. Network: FID's Inception-v3. Source: Bińkowski et al. 2018.
    """

    distance: ClassVar[str] = "KID"
    unit: ClassVar[str] = "frames"

    def compute(self) -> Tensor:
        """() float64.

        Raises:
            NotComputable: a side has fewer than two samples.
        """
        return kernel_distance(*self.enough_samples())
