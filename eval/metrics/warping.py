"""Warping error: how far a generated video is from its own motion, as Lai et al. measure temporal stability.

Dimensions: P pairs of consecutive frames, C = 3 colours, H x W pixels, 2 = x and y of a flow in pixels.
"""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from eval.metrics.base import MeanMetric, NotComputable


def warped(images_PCHW: Tensor, flow_P2HW: Tensor) -> tuple[Tensor, Tensor]:
    """Bring images back along a flow: pixel p takes what is at p + flow(p), bilinearly.

    Returns:
        (P, C, H, W) images, and (P, H, W) bool where p + flow(p) lies inside the frame.
    """
    height, width = images_PCHW.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=flow_P2HW.device), torch.arange(width, device=flow_P2HW.device), indexing="ij"
    )
    x_PHW, y_PHW = columns + flow_P2HW[:, 0], rows + flow_P2HW[:, 1]
    grid_PHW2 = torch.stack([2 * x_PHW / (width - 1) - 1, 2 * y_PHW / (height - 1) - 1], -1)
    inside_PHW = (x_PHW >= 0) & (x_PHW <= width - 1) & (y_PHW >= 0) & (y_PHW <= height - 1)
    sampled_PCHW = grid_sample(images_PCHW, grid_PHW2, padding_mode="border", align_corners=True)
    return sampled_PCHW, inside_PHW


def visible(forward_P2HW: Tensor, backward_P2HW: Tensor) -> Tensor:
    """Where a pixel of the first frame is seen in the second too and flow is smooth: (P, H, W) bool.

    Left out are occlusions, |f + b|² > 0.01 (|f|² + |b|²) + 0.5 with b the backward flow brought to the first frame,
    and motion boundaries, |∇f|² > 0.01 |f|² + 0.002 (Ruder et al. 2016, Sec. 4.1, Eq. 5 and 6).
    """
    back_P2HW, inside_PHW = warped(backward_P2HW, forward_P2HW)
    forward_PHW = forward_P2HW.square().sum(1)
    mismatch_PHW = (forward_P2HW + back_P2HW).square().sum(1)
    occluded_PHW = mismatch_PHW > 0.01 * (forward_PHW + back_P2HW.square().sum(1)) + 0.5
    down_P2HW, right_P2HW = torch.gradient(forward_P2HW, dim=(2, 3))
    boundary_PHW = (down_P2HW.square() + right_P2HW.square()).sum(1) > 0.01 * forward_PHW + 0.002
    return inside_PHW & ~occluded_PHW & ~boundary_PHW


def warping_error(before_PCHW: Tensor, after_PCHW: Tensor, forward_P2HW: Tensor, backward_P2HW: Tensor) -> Tensor:
    """Mean squared difference of each frame and the next one warped onto it, over what both show.

    Args:
        before_PCHW, after_PCHW: (P, 3, H, W) uint8 RGB.
        forward_P2HW, backward_P2HW: (P, 2, H, W) flows from before to after and back, in pixels.

    Returns:
        (P,) float64 for colours in [0, 1]; NaN where nothing is seen in both.
    """
    before_PCHW, after_PCHW = before_PCHW.double() / 255, after_PCHW.double() / 255
    forward_P2HW, backward_P2HW = forward_P2HW.double(), backward_P2HW.double()
    mask_PHW = visible(forward_P2HW, backward_P2HW)
    squared_PHW = (warped(after_PCHW, forward_P2HW)[0] - before_PCHW).square().mean(1)
    return (squared_PHW * mask_PHW).sum((1, 2)) / mask_PHW.sum((1, 2))


class WarpingError(MeanMetric):
    """Warping error of each video, then over videos.

    Range [0, 1], lower is better, 0 where every pixel only moves. A still or blurred video is good at it: it says
    nothing of sharpness or of the right motion. Resolution: the frames' own. Colour: 8-bit RGB in [0, 1]. Pooling: mean
    over pairs of consecutive frames, then each video weighs the same. Network: torchvision's RAFT-large, C_T_SKHT_V2
    (ff5fadd5…; BSD-3-Clause), on the generated video itself. Source: Lai et al. 2018, Sec. 4.2, with the mask of Ruder
    et al. 2016; there the flow is FlowNet2's, so published numbers are near and not equal.
    """

    unit: ClassVar[str] = "videos"

    def update(self, batches: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
        """Add one whole video.

        Args:
            batches: of its consecutive frames, together F - 1: as the arguments of `warping_error`.

        Raises:
            NotComputable: fewer than two frames, or no pixel of any frame is seen in the next.
        """
        errors = [warping_error(*batch) for batch in batches]
        if not errors:
            raise NotComputable("the warping error needs at least 2 frames")
        error_P = torch.cat(errors)
        num_frames = len(error_P) + 1
        error_P = error_P[~error_P.isnan()]
        if not len(error_P):
            raise NotComputable("no pixel of any frame is seen again in the next one")
        self._add(error_P.mean()[None], frames=num_frames)

    def details(self) -> dict[str, int | float | str]:
        return super().details() | {"videos": int(self.count)}
