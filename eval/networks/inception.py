"""Inception-v3, the network of FID.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels. Frames are uint8.
"""

from pathlib import Path
from typing import Literal

import torch
import torchvision
from cleanfid.inception_pytorch import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
from cleanfid.inception_torchscript import InceptionV3W
from torch import Tensor, nn
from torch.nn import functional as F

from eval.networks.base import Network, resize_pillow
from src.common.digests import sha256

INCEPTION_SIZE = 299


class Inception(Network):
    """Inception-v3's 2048 pooled features, as FID takes them.

    Args:
        kind: `inception-torchscript`: clean-fid's network, input resized to 299 x 299 by Pillow's bicubic filter in
            floating point, on the CPU. `inception-pytorch`: pytorch-fid's, input resized by PyTorch's bilinear
            filter without antialiasing.
        path: the published file of that network, under its own name.
    """

    num_features = 2048

    def __init__(self, kind: Literal["inception-torchscript", "inception-pytorch"], path: Path) -> None:
        super().__init__(kind, sha256(path))
        self.pillow = kind == "inception-torchscript"
        self.model = InceptionV3W(str(path.parent), download=False) if self.pillow else pytorch_inception(path)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """(B, 2048) float32 features of (B, 3, H, W) uint8 RGB frames."""
        size = (INCEPTION_SIZE, INCEPTION_SIZE)
        if self.pillow:
            return self.model(resize_pillow(frames_BCHW, size, clip=True))
        x = F.interpolate(frames_BCHW.float(), size=size, mode="bilinear", align_corners=False)
        return self.model(2 * (x.clamp(0, 255) / 255) - 1)


def pytorch_inception(path: Path | None) -> nn.Module:
    """pytorch-fid's network: torchvision's with the pooling of the TensorFlow original; None: random weights."""
    model = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    model.Mixed_5b = FIDInceptionA(192, pool_features=32)
    model.Mixed_5c = FIDInceptionA(256, pool_features=64)
    model.Mixed_5d = FIDInceptionA(288, pool_features=64)
    model.Mixed_6b = FIDInceptionC(768, channels_7x7=128)
    model.Mixed_6c = FIDInceptionC(768, channels_7x7=160)
    model.Mixed_6d = FIDInceptionC(768, channels_7x7=160)
    model.Mixed_6e = FIDInceptionC(768, channels_7x7=192)
    model.Mixed_7b = FIDInceptionE_1(1280)
    model.Mixed_7c = FIDInceptionE_2(2048)
    if path is not None:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    model.register_module("fc", nn.Identity())
    return model
