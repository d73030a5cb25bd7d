"""Optical flow between frames by torchvision's RAFT."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.models.optical_flow import raft_large

from eval.networks.base import Network
from src.common.digests import sha256

# RAFT works on an eighth of the resolution and correlates over four octaves of it.
MULTIPLE, SMALLEST = 8, 128


class RAFT(Network):
    """RAFT-large with torchvision's weights C_T_SKHT_V2.

    Args:
        path: `raft_large_C_T_SKHT_V2-ff5fadd5.pth`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("raft-large", sha256(path))
        self.smallest = 2  # a flow of one row has no boundary
        self.model = raft_large(weights=None)
        self.model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))

    def forward(self, before_BCHW: Tensor, after_BCHW: Tensor) -> Tensor:
        """Flow (B, 2, H, W) float32, x and y in pixels from before to after, of (B, 3, H, W) uint8 RGB frames."""
        height, width = before_BCHW.shape[-2:]
        down, right = (max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE) - side for side in (height, width))
        before, after = (
            pad(frames.float() / 127.5 - 1, (0, right, 0, down), mode="replicate")
            for frames in (before_BCHW, after_BCHW)
        )
        return self.model(before, after)[-1][..., :height, :width]
