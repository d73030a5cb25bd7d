"""KID: kernel inception distance between all generated and all real frames of a data set."""

from typing import ClassVar

import torch
from torch import Tensor

from eval.metrics.base import NotComputable, ReportingMetric
from src.common.errors import UserError

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
    the draws' noise, and the same number where a side has at most 1,000.

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


class KID(ReportingMetric):
    """Kernel distance of Inception-v3 features.

    Range: about 0 and up, lower is better; unlike FID its expectation does not depend on the number of samples, so it
    may be below 0. Resolution: resized to 299 x 299 as for FID. Colour: 8-bit RGB. Pooling: all frames of all videos
    form one set. Network: FID's Inception-v3. Source: Bińkowski et al. 2018.
    """

    full_state_update: ClassVar[bool] = False
    is_differentiable: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "frames"

    generated: list[Tensor]
    real: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("generated", [], dist_reduce_fx="cat")
        self.add_state("real", [], dist_reduce_fx="cat")

    def update(self, features_BD: Tensor, *, real: bool, frames: int) -> None:
        """Add samples of one side, as `eval.metrics.frechet.FrechetMetric.update`; `frames` is their number again.

        Raises:
            UserError: a feature is not finite.
        """
        if not torch.isfinite(features_BD).all():
            raise UserError("KID: the network returned features that are not finite")
        (self.real if real else self.generated).append(features_BD.float())

    def compute(self) -> Tensor:
        """() float64.

        Raises:
            NotComputable: a side has fewer than two samples.
        """
        generated_ND, real_MD = (self._samples(side) for side in ("generated", "real"))
        if min(len(generated_ND), len(real_MD)) < 2:
            raise NotComputable(
                f"KID needs at least 2 frames a side, got {len(generated_ND)} generated and {len(real_MD)} real"
            )
        return kernel_distance(generated_ND, real_MD)

    def details(self) -> dict[str, int | float | str]:
        return {"frames": len(self._samples("generated")), "real_frames": len(self._samples("real"))}

    def _samples(self, side: str) -> Tensor:
        parts = getattr(self, side)
        # After merging over processes a list state is one tensor.
        parts = [parts] if isinstance(parts, Tensor) else parts
        return torch.cat(parts).double() if parts else torch.zeros(0, 1, dtype=torch.float64)
