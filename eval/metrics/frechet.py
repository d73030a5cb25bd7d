"""The Fréchet distance of FID and FVD, in float64."""

from typing import ClassVar

import torch
from torch import Tensor

from eval.metrics.samples import SampleMetric


def frechet_distance(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Squared Fréchet distance of the Gaussians of two sets of samples, () in their type, Heusel et al. 2017, Eq. 6.

    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½). With covariances A Aᵀ and B Bᵀ of the centred samples, tr (C1 C2)^½ is the
    sum of the singular values of AᵀB, an N × M matrix: much smaller than D × D where samples are few, and exact where
    they are too few for covariances of full rank. There a matrix root takes the root of eigenvalues that are zero but
    for rounding, which costs per cents of a distance near zero. Beyond D samples QR brings both down to D.

    Args:
        x_ND, y_MD: at least two samples each, float64 for a distance near zero.
    """
    mean_x, mean_y = x_ND.mean(0), y_MD.mean(0)
    a_ND, b_MD = (x_ND - mean_x) / (len(x_ND) - 1) ** 0.5, (y_MD - mean_y) / (len(y_MD) - 1) ** 0.5
    trace = a_ND.square().sum() + b_MD.square().sum()
    # (Q R)ᵀ has the singular values of Rᵀ.
    a, b = (torch.linalg.qr(side, mode="r").R if len(side) > side.shape[1] else side for side in (a_ND, b_MD))
    distance = (mean_x - mean_y).square().sum() + trace - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return distance.clamp(min=0)


class FrechetMetric(SampleMetric):
    """Fréchet distance between the features of generated and real samples.

    Args:
        num_features: D.
    """

    distance: ClassVar[str] = "a Fréchet distance"

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def compute(self) -> Tensor:
        """() float64, the squared distance.

        Raises:
            NotComputable: a side has fewer than two samples, hence no covariance.
        """
        return frechet_distance(*self.enough_samples())

    def details(self) -> dict[str, int | float | str]:
        """Counts of both sides, and a note where they are too few for the covariances to have full rank."""
        details = super().details()
        fewest = min(map(len, self.samples()))
        if fewest < self.num_features + 1:
            details["note"] = (
                f"too few samples: {fewest} {self.unit} for {self.num_features} features, at least "
                f"{self.num_features + 1} give covariances of full rank; the value is biased upwards and comparable "
                "only at equal counts"
            )
        return details
