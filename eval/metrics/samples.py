"""What the distances between two sets share: the samples of each side, which merge over processes."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from eval.metrics.base import NotComputable, ReportingMetric
from src.common.errors import UserError


class SampleMetric(ReportingMetric):
    """A distance between the features of generated and of real samples.

    State: the samples of each side.

    Attributes:
        distance: what it is called in messages.
        unit: what a sample is, `frames` or `clips`.
    """

    full_state_update: ClassVar[bool] = False
    is_differentiable: ClassVar[bool] = False
    distance: ClassVar[str]
    unit: ClassVar[str]
    generated: list[Tensor]
    real: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("generated", [], dist_reduce_fx="cat")
        self.add_state("real", [], dist_reduce_fx="cat")
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
        if not torch.isfinite(features_BD).all():
            raise UserError(f"{type(self).__name__}: the network returned features that are not finite")
        (self.real if real else self.generated).append(features_BD)
        if not real:
            self.frames += frames

    def samples(self) -> tuple[Tensor, Tensor]:
        """(N, D) of generated and (M, D) of real samples, as the network gave them; (0, 1) of a side without any."""
        sides = (self.generated, self.real)
        generated_ND, real_MD = (dim_zero_cat(side) if len(side) else torch.zeros(0, 1) for side in sides)
        return generated_ND, real_MD

    def enough_samples(self) -> tuple[Tensor, Tensor]:
        """The same in float64.

        Raises:
            NotComputable: a side has fewer than two.
        """
        generated_ND, real_MD = self.samples()
        if min(len(generated_ND), len(real_MD)) < 2:
            raise NotComputable(
                f"{self.distance} needs at least 2 {self.unit} a side, got {len(generated_ND)} generated and "
                f"{len(real_MD)} real"
            )
        return generated_ND.double(), real_MD.double()

    def details(self) -> dict[str, int | float | str]:
        """Counts of both sides."""
        generated_ND, real_MD = self.samples()
        own = {} if self.unit == "frames" else {self.unit: len(generated_ND)}
        return {"frames": int(self.frames), **own, f"real_{self.unit}": len(real_MD)}
