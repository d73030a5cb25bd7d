"""The 3D ResNet-50 of FID-VID, built of torchvision's blocks."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.video.resnet import Bottleneck, Conv3DSimple, VideoResNet

from eval.networks.base import ClipNetwork, load_unchecked, resize_pillow
from src.common.digests import sha256

SIZE = 112
MEAN = (114.7748, 107.7354, 99.4750)


class ResNet3D(ClipNetwork):
    """2048 pooled features of the Kinetics-400 3D ResNet-50 of Hara et al. 2018, as DisCo's FID-VID takes them.

    Frames are resized to 112 x 112 by Pillow's bicubic filter in floating point, unclipped, on the CPU, and lose the
    mean of Kinetics' colours.

    Args:
        path: `resnet-50-kinetics.pth` as published, a training checkpoint whose `state_dict` is meant.
    """

    num_features = 2048

    mean: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__("resnet50-3d-kinetics", sha256(path))
        self.model = resnet50_3d()
        load_unchecked(self.model, path, renamed=_torchvision_name)
        self.model.register_module("fc", nn.Identity())
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])

    def prepare(self, frames_FCHW: Tensor) -> Tensor:
        """Do once for a video what does not depend on the windows cut from it: (F, 3, 112, 112) float32."""
        return resize_pillow(frames_FCHW, (SIZE, SIZE), clip=False) - self.mean

    def forward(self, clips_BFCHW: Tensor) -> Tensor:
        """(B, 2048) float32 features of 16-frame clips cut from what `prepare` returned."""
        return self.model(clips_BFCHW.transpose(1, 2))


def resnet50_3d() -> VideoResNet:
    """The architecture, with torchvision's initial weights."""

    def stem() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, stride=2, padding=1),
        )

    return VideoResNet(Bottleneck, [Conv3DSimple] * 4, [3, 4, 6, 3], stem)


def _torchvision_name(name: str) -> str:
    """`module.layer1.0.bn2.bias` is `layer1.0.conv2.1.bias` in torchvision's network."""
    name = name.removeprefix("module.")
    name = re.sub(r"^conv1\.", "stem.0.", name)
    name = re.sub(r"^bn1\.", "stem.1.", name)
    name = re.sub(r"(layer\d\.\d+)\.conv3\.", r"\1.conv3.0.", name)
    name = re.sub(r"(layer\d\.\d+)\.conv([12])\.", r"\1.conv\2.0.", name)
    return re.sub(r"(layer\d\.\d+)\.bn(\d)\.", r"\1.conv\2.1.", name)
