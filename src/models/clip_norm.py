"""Group norm with statistics over all frames of a clip, frames in chunks, as exact in chunks as whole in every dtype.

Dimensions: F frames, C channels, H×W latent cells, G norm groups.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class _Statistics:
    """Of one clip, in float32: mean and reciprocal standard deviation of each channel's group, ready to broadcast."""

    mean_C11: Tensor
    rstd_C11: Tensor


class _Context(FunctionCtx):
    """What autograd hands over, and what is kept in it for the way back."""

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]
    num_groups: int
    chunks: Sequence[slice]


class ClipNorm(torch.autograd.Function):
    """y = (x − mean) / std · weight + bias of one clip; the affine parameters are frozen.

    Sums, scale and shift are float32 whatever the dtype of x, and the result is rounded once, by one multiply-add:
    how the frames are cut changes nothing but the order of float32 sums.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        x_FCHW: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        num_groups: int,
        eps: float,
        chunks: Sequence[slice],
    ) -> Tensor:
        """Normalise; `chunks` cut the frame axis."""
        statistics = _statistics(x_FCHW, num_groups, eps, chunks)
        scale_C11 = statistics.rstd_C11 * _broadcast(weight_C)
        shift_C11 = _broadcast(bias_C) - statistics.mean_C11 * scale_C11
        y_FCHW = torch.empty_like(x_FCHW)
        for part in chunks:
            torch.addcmul(shift_C11, x_FCHW[part], scale_C11, out=y_FCHW[part])
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x_FCHW, statistics.mean_C11, statistics.rstd_C11, weight_C)
            ctx.num_groups, ctx.chunks = num_groups, chunks
        return y_FCHW

    @staticmethod
    def backward(ctx: _Context, grad_FCHW: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """With g = weight · dy and n = normalised x, over a group: dx = (g − mean(g) − n · mean(g · n)) / std."""
        x_FCHW, mean_C11, rstd_C11, weight_C = ctx.saved_tensors
        weight_C11 = _broadcast(weight_C)

        def group_mean(sums_C11: Tensor) -> Tensor:
            return _over_groups(sums_C11 * weight_C11, ctx.num_groups) / (x_FCHW.numel() // ctx.num_groups)

        mean_g = group_mean(_total(_sum(grad_FCHW[part]) for part in ctx.chunks))
        products = (grad_FCHW[part] * (x_FCHW[part] - mean_C11) for part in ctx.chunks)
        mean_gn = group_mean(_total(_sum(product) for product in products)) * rstd_C11
        of_x = -rstd_C11.square() * mean_gn
        constant = -rstd_C11 * mean_g - of_x * mean_C11
        dx_FCHW = torch.empty_like(x_FCHW)
        for part in ctx.chunks:
            rest = torch.addcmul(constant, x_FCHW[part], of_x)
            torch.addcmul(rest, grad_FCHW[part], rstd_C11 * weight_C11, out=dx_FCHW[part])
        return dx_FCHW, None, None, None, None, None


def _statistics(x_FCHW: Tensor, num_groups: int, eps: float, chunks: Sequence[slice]) -> _Statistics:
    """Two passes: the variance is taken about the mean, which sums of squares alone would lose digits against."""
    size = x_FCHW.numel() // num_groups
    mean_C11 = _over_groups(_total(_sum(x_FCHW[part]) for part in chunks), num_groups) / size
    deviations = ((x_FCHW[part] - mean_C11).square_() for part in chunks)
    var_C11 = _over_groups(_total(_sum(deviation) for deviation in deviations), num_groups) / size
    return _Statistics(mean_C11, (var_C11 + eps).rsqrt())


def _sum(x_FCHW: Tensor) -> Tensor:
    return x_FCHW.sum((0, 2, 3), keepdim=True, dtype=torch.float32)[0]


def _total(parts: Iterable[Tensor]) -> Tensor:
    return cast(Tensor, sum(parts))  # never of none


def _over_groups(sums_C11: Tensor, num_groups: int) -> Tensor:
    """Sums of channels to sums of their groups, repeated for each channel."""
    sums_GX = sums_C11.view(num_groups, -1)
    return sums_GX.sum(1, keepdim=True).expand_as(sums_GX).reshape_as(sums_C11)


def _broadcast(values_C: Tensor) -> Tensor:
    return values_C.float()[:, None, None]
