"""PSNR: peak signal-to-noise ratio of each generated frame and its ground truth."""

import math
from typing import Literal

import torch
from torch import Tensor

from eval.metrics.base import MeanMetric, NotComputable, same_shape


def psnr(generated_BCHW: Tensor, real_BCHW: Tensor, *, arithmetic: Literal["float64", "uint8"]) -> Tensor:
    """PSNR of each pair in dB, over all pixels and channels, with peak 255.

    `uint8` repeats a widespread mistake for comparison with figures that carry it: differences and their squares
    wrap around at 256.

    Args:
        generated_BCHW, real_BCHW: (B, 3, H, W) uint8 RGB.

    Returns:
        (B,) float64, inf where the mean squared error is 0.
    """
    same_shape(generated_BCHW, real_BCHW)
    if arithmetic == "uint8":
        difference_BCHW = generated_BCHW - real_BCHW
        squared_BCHW = difference_BCHW * difference_BCHW
    else:
        squared_BCHW = (generated_BCHW.float() - real_BCHW.float()).square_()  # whole numbers, exact in float32
    mse_B = squared_BCHW.sum((1, 2, 3), dtype=torch.float64) / generated_BCHW[0].numel()
    return 20 * math.log10(255) - 10 * torch.log10(mse_B)


class PSNR(MeanMetric):
    """Mean PSNR in dB over all pairs of frames.

    Range [0, inf], higher is better. Resolution: the frames' own. Colour: 8-bit RGB, peak 255. Pooling: mean of the
    frames' dB. Network: none. Source: the paper's Sec. 5.1.

    Identical frames have infinite PSNR, which a mean cannot take. `identical="exclude"` leaves them out and counts
    them beside the value, and if all frames are identical the value is inf (the string "inf" in JSON); a number
    takes their place in the mean instead.
    """

    def __init__(self, *, arithmetic: Literal["float64", "uint8"], identical: Literal["exclude"] | float) -> None:
        super().__init__()
        self.arithmetic: Literal["float64", "uint8"] = arithmetic
        self.identical = identical
        self.add_state("num_identical", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, generated_BCHW: Tensor, real_BCHW: Tensor) -> None:
        """Add (B, 3, H, W) uint8 RGB pairs."""
        values = psnr(generated_BCHW, real_BCHW, arithmetic=self.arithmetic)
        same = torch.isinf(values)
        self.num_identical += same.sum()
        kept = values[~same] if self.identical == "exclude" else torch.where(same, float(self.identical), values)
        self._add(kept, frames=len(values))

    def compute(self) -> Tensor:
        """() float64, inf if every frame was identical and those are excluded."""
        if self.frames == 0:
            raise NotComputable("no frames to take the mean over")
        return torch.full_like(self.total, torch.inf) if self.count == 0 else super().compute()

    def details(self) -> dict[str, int | float | str]:
        details = super().details()
        if self.num_identical:
            details["identical"] = int(self.num_identical)
        return details
