"""Settings of the fine-tune: the config groups `optimizer` and `preview`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from src.common.typed import check_range
from src.models.ddim_steps import check_num_steps

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Sec. 4.1 and `ARCHITECTURE.md`: AdamW at a constant rate.

    Attributes:
        lr: learning rate.
        weight_decay: decoupled.
        betas: of the moving averages of gradient and squared gradient.
        fused: one kernel for all weights; null: on CUDA, unless gradients are scaled (`16-mixed`).
    """

    name: Literal["adamw"] = "adamw"
    lr: float = 3e-5
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    fused: bool | None = None

    def __post_init__(self) -> None:
        check_range("optimizer.lr", self.lr, above=0, most=1e3)
        check_range("optimizer.weight_decay", self.weight_decay, least=0, most=1e3)
        for beta in self.betas:
            check_range("optimizer.betas", beta, least=0, most=0.999999)

    def build(self, parameters: "Iterable[Tensor]", *, scaled: bool = False) -> "Optimizer":
        """The optimiser of these parameters.

        Args:
            scaled: their gradients are, as in `16-mixed`; a fused optimiser would take the scale off after clipping.
        """
        from torch.optim import AdamW

        parameters, fused = list(parameters), self.fused
        if fused is None and not scaled and all(parameter.is_cuda for parameter in parameters):
            fused = True
        return AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas, fused=fused)


@dataclass(frozen=True, kw_only=True)
class PreviewSettings:
    """Pictures of a few held-out poses in the course of a fine-tune.

    Attributes:
        every_n_steps: how often; 0: never.
        num_poses: how many of the held-out poses.
        num_steps: of their sampling.
    """

    every_n_steps: int = 0
    num_poses: int = 4
    num_steps: int = 20

    def __post_init__(self) -> None:
        check_range("preview.every_n_steps", self.every_n_steps, least=0)
        check_range("preview.num_poses", self.num_poses, least=1)
        check_num_steps(self.num_steps, option="preview.num_steps")
