"""PSNR of a part of the body: what latent editing (Sec. 4.3) is for, and what a mean over the frame hides."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eval.metrics.base import MeanMetric, NotComputable, same_shape
from src.common.counting import counted
from src.common.errors import UserError
from src.pose.keypoints import PARTS, PoseSequence

REGIONS: dict[str, tuple[str, ...]] = {"face": ("face",), "hands": ("left_hand", "right_hand")}
MIN_KEYPOINTS = 3


def region_mask(poses: PoseSequence, region: str, height: int, width: int) -> np.ndarray:
    """Pixels of a region in each frame (F, H, W) bool: the bounding rectangles of its parts' seen keypoints.

    A part with fewer than 3 seen keypoints, or outside the frame, adds nothing.

    Args:
        region: key of `REGIONS`.
    """
    mask_FHW = np.zeros((len(poses), height, width), bool)
    for frame in range(len(poses)):
        for part in REGIONS[region]:
            seen_K = poses.mask[frame, PARTS[part]]
            if seen_K.sum() < MIN_KEYPOINTS:
                continue
            points_K2 = poses.xy[frame, PARTS[part]][seen_K] * [width, height]
            left, top = np.floor(points_K2.min(0)).astype(int).clip(0)
            right, bottom = np.ceil(points_K2.max(0)).astype(int).clip(0)
            mask_FHW[frame, top:bottom, left:right] = True
    return mask_FHW


class RegionPSNR(MeanMetric):
    """Mean PSNR in dB inside one region, over the pairs of frames that show it.

    Range [0, inf], higher is better. Resolution: the frames' own. Colour: 8-bit RGB, peak 255, over the pixels of the
    region and all channels, in float64. The region is that of the true poses: the bounding rectangle of the face's 68
    keypoints, or those of both hands' 21 together. Pooling: mean of the frames' dB; identical ones, of infinite PSNR,
    are left out. Network: none. Source: ours; the paper reports no number for parts.

    Args:
        region: key of `REGIONS`.
    """

    unit: ClassVar[str] = "frames that show the region"

    def __init__(self, region: str) -> None:
        super().__init__()
        self.region = region

    def update(self, generated_FCHW: Tensor, real_FCHW: Tensor, poses: PoseSequence) -> None:
        """Add one video: (F, 3, H, W) uint8 RGB each, and the real frames' F poses.

        Raises:
            UserError: the three differ in length, or the frames in size.
        """
        same_shape(generated_FCHW, real_FCHW)
        if len(poses) != len(real_FCHW):
            raise UserError(
                f"{counted(len(real_FCHW), 'frame')} with {counted(len(poses), 'pose')}: give the poses of those frames"
            )
        mask_FHW = torch.from_numpy(region_mask(poses, self.region, *real_FCHW.shape[-2:])).to(real_FCHW.device)
        squared_FHW = (generated_FCHW.double() - real_FCHW.double()).square().mean(1)
        pixels_F = mask_FHW.sum((1, 2))
        mse_F = (squared_FHW * mask_FHW).sum((1, 2)) / pixels_F
        counted_F = (pixels_F > 0) & (mse_F > 0)
        self._add(10 * torch.log10(255**2 / mse_F[counted_F]), frames=int((pixels_F > 0).sum()))

    def compute(self) -> Tensor:
        """() float64, inf if the region is identical in every frame that shows it.

        Raises:
            NotComputable: no frame shows it.
        """
        if self.frames == 0:
            raise NotComputable(f"no frame shows the {self.region}")
        return torch.full_like(self.total, torch.inf) if self.count == 0 else super().compute()
