"""Group norm with statistics over all frames of a clip, frames in chunks, as exact in chunks as whole in every dtype.

Dimensions: B clips, F frames, C channels, H×W latent cells, G norm groups.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _Context(FunctionCtx):
    """What autograd hands over, and what is kept in it for the way back."""

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]
    num_groups: int
    chunks: Sequence[slice]


class ClipNorm(torch.autograd.Function):
    """y = (x − mean) / std · weight + bias of each of B clips; the affine parameters are frozen.

    Sums, scale and shift are float32 whatever the dtype of x, and the result is rounded once, by one multiply-add:
    how the frames are cut changes nothing but the order of float32 sums.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        x_BFCHW: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        num_groups: int,
        eps: float,
        chunks: Sequence[slice],
    ) -> Tensor:
        """Normalise; `chunks` cut the frame axis."""
        mean_BC, var_BC = _statistics(x_BFCHW, num_groups, chunks)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x_BFCHW, _spread(mean_BC), _spread((var_BC + eps).rsqrt()), weight_C)
            ctx.num_groups, ctx.chunks = num_groups, chunks
        # With its statistics repeated for each channel, the norm is a batch norm that is done learning: one kernel.
        weight_C, bias_C = weight_C.float(), bias_C.float()
        clips = zip(x_BFCHW, mean_BC, var_BC, strict=True)
        if torch.compiler.is_compiling() or len(x_BFCHW) == len(chunks) == 1:
            outputs = [
                F.batch_norm(x_FCHW, mean_C, var_C, weight_C, bias_C, eps=eps) for x_FCHW, mean_C, var_C in clips
            ]
            return outputs[0][None] if len(outputs) == 1 else torch.stack(outputs)
        y_BFCHW = torch.empty_like(x_BFCHW)
        for y_FCHW, (x_FCHW, mean_C, var_C) in zip(y_BFCHW, clips, strict=True):
            for part in chunks:
                out = y_FCHW[part], mean_C.new_empty(0), mean_C.new_empty(0)
                torch.native_batch_norm(x_FCHW[part], weight_C, bias_C, mean_C, var_C, False, 0.0, eps, out=out)
        return y_BFCHW

    @staticmethod
    def backward(ctx: _Context, grad_BFCHW: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """With g = weight · dy and n = normalised x, over a group: dx = (g − mean(g) − n · mean(g · n)) / std."""
        x_BFCHW, mean_B1C11, rstd_B1C11, weight_C = ctx.saved_tensors
        size = x_BFCHW[0].numel() // ctx.num_groups
        weight_C = weight_C.float()
        sums_BC = _total(_sum(grad_BFCHW[:, part]) for part in ctx.chunks)
        products_BC = _total(_sum(grad_BFCHW[:, part] * (x_BFCHW[:, part] - mean_B1C11)) for part in ctx.chunks)
        weighted_2BC = torch.stack([sums_BC, products_BC]) * (weight_C / size)
        mean_g_B1C11, mean_gx_B1C11 = _spread(_over_groups(weighted_2BC, ctx.num_groups))
        of_x_B1C11 = mean_gx_B1C11 * -rstd_B1C11.pow(3)
        constant_B1C11 = torch.addcmul(rstd_B1C11 * mean_g_B1C11, of_x_B1C11, mean_B1C11).neg_()
        scale_B1C11 = rstd_B1C11 * weight_C[:, None, None]
        if torch.compiler.is_compiling():
            # Fused, nothing between is held; and the compiler takes no output of another memory format.
            rest = torch.addcmul(constant_B1C11, x_BFCHW, of_x_B1C11)
            dx_BFCHW = torch.addcmul(rest, grad_BFCHW, scale_B1C11).to(x_BFCHW.dtype)
            return dx_BFCHW, None, None, None, None, None
        dx_BFCHW = torch.empty_like(x_BFCHW)
        for part in ctx.chunks:
            rest = torch.addcmul(constant_B1C11, x_BFCHW[:, part], of_x_B1C11)
            torch.addcmul(rest, grad_BFCHW[:, part], scale_B1C11, out=dx_BFCHW[:, part])
        return dx_BFCHW, None, None, None, None, None


def _statistics(x_BFCHW: Tensor, num_groups: int, chunks: Sequence[slice]) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, C) of each channel's group, in float32.

    Two passes: the variance is taken about the mean, which sums of squares alone would lose digits against.
    """
    size = x_BFCHW[0].numel() // num_groups
    mean_BC = _over_groups(_total(_sum(x_BFCHW[:, part]) for part in chunks) / size, num_groups)
    mean_B1C11 = _spread(mean_BC)
    # Autocast would first copy x to float32, which the subtraction does as it reads.
    with torch.autocast(x_BFCHW.device.type, enabled=False):
        squares_BC = _total(_sum(_squared_distance(x_BFCHW[:, part], mean_B1C11)) for part in chunks)
    return mean_BC, _over_groups(squares_BC / size, num_groups)


def _squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """(x − y)² in the wider of both dtypes, as one operation."""
    return F.mse_loss(x, y.expand_as(x), reduction="none")


def _sum(x_BFCHW: Tensor) -> Tensor:
    return x_BFCHW.sum((1, 3, 4), dtype=torch.float32)


def _total(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, parts)  # never of none


def _over_groups(sums_XC: Tensor, num_groups: int) -> Tensor:
    """Sums of channels, the last axis, to sums of their groups, repeated for each channel."""
    sums_XGY = sums_XC.unflatten(-1, (num_groups, -1))
    return sums_XGY.sum(-1, keepdim=True).expand_as(sums_XGY).flatten(-2)


def _spread(values_XBC: Tensor) -> Tensor:
    """(…, B, C) to (…, B, 1, C, 1, 1), as it is broadcast to frames and cells."""
    return values_XBC[..., None, :, None, None]
