"""What the metrics share: a mean over frames or videos whose state merges over processes, in float64."""

from abc import abstractmethod
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric

from src.common.errors import UserError


class NotComputable(UserError):
    """These data have no value of this metric (too few frames, no pose found, …); the others may have."""


class ReportingMetric(Metric):
    """What every metric here has beside what torchmetrics asks for."""

    frames: Tensor

    @abstractmethod
    def details(self) -> dict[str, int | float | str]:
        """What is reported beside the value: at least how many generated `frames` it rests on."""


class MeanMetric(ReportingMetric):
    """Mean of one value per frame or per video, as `unit` says.

    Subclasses call `_add` from `update`. States are sums, so they merge exactly.
    """

    full_state_update: ClassVar[bool] = False
    is_differentiable: ClassVar[bool] = False
    unit: ClassVar[str] = "frames"
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _add(self, values_B: Tensor, *, frames: int) -> None:
        values_B = values_B.double()
        if not torch.isfinite(values_B).all():
            raise UserError(f"{type(self).__name__} is not finite for some frames: the network or its input is broken")
        self.total += values_B.sum()
        self.count += len(values_B)
        self.frames += frames

    def compute(self) -> Tensor:
        """() float64, the mean.

        Raises:
            NotComputable: nothing was added.
        """
        if self.count == 0:
            raise NotComputable(f"no {self.unit} to take the mean over")
        return self.total / self.count

    def details(self) -> dict[str, int | float | str]:
        videos = {"videos": int(self.count)} if self.unit == "videos" else {}
        return {"frames": int(self.frames), **videos}


class Pictures(Protocol):
    """What says its shape and type as a tensor does."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def ndim(self) -> int: ...


def same_shape(generated_BCHW: Pictures, real_BCHW: Pictures) -> None:
    """Refuse pairs that do not match, and frames that are not uint8 RGB.

    Raises:
        UserError: the shapes differ or a tensor is not (B, 3, H, W) uint8.
    """
    for frames in (generated_BCHW, real_BCHW):
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3:
            raise UserError(f"frames must be uint8 (B, 3, H, W) in RGB, got {frames.dtype} {tuple(frames.shape)}")
    if generated_BCHW.shape != real_BCHW.shape:
        raise UserError(
            f"generated and real frames differ in number or size: {tuple(generated_BCHW.shape)} and "
            f"{tuple(real_BCHW.shape)}"
        )
