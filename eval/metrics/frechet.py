"""The Fréchet distance of FID and FVD, in float64, from sums that merge over processes."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from eval.metrics.base import NotComputable
from src.common.errors import UserError


def frechet_distance(mean1_D: Tensor, cov1_DD: Tensor, mean2_D: Tensor, cov2_DD: Tensor) -> Tensor:
    """Squared Fréchet distance of two Gaussians: |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), Heusel et al. 2017, Eq. 6.

    tr (C1 C2)^½ is the sum of the root eigenvalues of the symmetric C1^½ C2 C1^½. That stays real and exact for
    the singular covariances of few samples, where the root of the product itself does not.

    Args:
        mean1_D, mean2_D: (D,) float64.
        cov1_DD, cov2_DD: (D, D) float64, symmetric.

    Returns:
        () float64, at least 0.
    """
    values_D, vectors_DD = torch.linalg.eigh(cov1_DD)
    root_DD = (vectors_DD * values_D.clamp(min=0).sqrt()) @ vectors_DD.T
    product_D = torch.linalg.eigvalsh(root_DD @ cov2_DD @ root_DD)
    trace = cov1_DD.trace() + cov2_DD.trace() - 2 * product_D.clamp(min=0).sqrt().sum()
    return ((mean1_D - mean2_D).square().sum() + trace).clamp(min=0)


class FrechetMetric(Metric):
    """Fréchet distance between the features of generated and real samples.

    State: for each side the number of samples, the sum of their features and of their outer products, float64.

    Args:
        num_features: D.
    """

    full_state_update: ClassVar[bool] = False
    is_differentiable: ClassVar[bool] = False
    unit: ClassVar[str]

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        for side in ("generated", "real"):
            self.add_state(f"{side}_count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", torch.zeros(num_features, dtype=torch.float64), dist_reduce_fx="sum")
            outer = torch.zeros(num_features, num_features, dtype=torch.float64)
            self.add_state(f"{side}_outer", outer, dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features_BD: Tensor, *, real: bool, frames: int) -> None:
        """Add samples of one side.

        Args:
            features_BD: (B, D), one row a sample (frame or clip).
            real: which side they belong to.
            frames: how many frames they come from; counted for the generated side.

        Raises:
            UserError: a feature is not finite.
        """
        features_BD = features_BD.double()
        if not torch.isfinite(features_BD).all():
            raise UserError(f"{type(self).__name__}: the network returned features that are not finite")
        side = "real" if real else "generated"
        setattr(self, f"{side}_count", getattr(self, f"{side}_count") + len(features_BD))
        setattr(self, f"{side}_sum", getattr(self, f"{side}_sum") + features_BD.sum(0))
        setattr(self, f"{side}_outer", getattr(self, f"{side}_outer") + features_BD.T @ features_BD)
        if not real:
            self.frames += frames

    def compute(self) -> Tensor:
        """() float64, the squared distance.

        Raises:
            NotComputable: a side has fewer than two samples, hence no covariance.
        """
        fewest = min(int(self.generated_count), int(self.real_count))
        if fewest < 2:
            raise NotComputable(
                f"a Fréchet distance needs at least 2 {self.unit} a side, got {int(self.generated_count)} generated "
                f"and {int(self.real_count)} real"
            )
        return frechet_distance(*self._moments("generated"), *self._moments("real"))

    def _moments(self, side: str) -> tuple[Tensor, Tensor]:
        count, total, outer = (getattr(self, f"{side}_{state}") for state in ("count", "sum", "outer"))
        mean = total / count
        return mean, (outer - count * torch.outer(mean, mean)) / (count - 1)

    def details(self) -> dict[str, int | float | str]:
        """Counts of both sides, and a note where they are too few for the covariances to have full rank."""
        details: dict[str, int | float | str] = {"frames": int(self.frames)}
        if self.unit != "frames":
            details[self.unit] = int(self.generated_count)
        details[f"real_{self.unit}"] = int(self.real_count)
        fewest = min(int(self.generated_count), int(self.real_count))
        if fewest < self.num_features + 1:
            details["note"] = (
                f"too few samples: {fewest} {self.unit} for {self.num_features} features, at least "
                f"{self.num_features + 1} give covariances of full rank; the value is biased upwards and comparable "
                "only at equal counts"
            )
        return details
