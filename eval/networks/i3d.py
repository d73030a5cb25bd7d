"""I3D, the network of FVD.

Dimensions: B clips, F frames, C = 3 channels in RGB order, H x W pixels. Frames are uint8.
"""

from pathlib import Path
from typing import Literal

import torch
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from torch import Tensor

from eval.networks.base import ClipNetwork, load_unchecked, resize_pillow
from src.common.digests import sha256

I3D_SIZE = 224


class I3D(ClipNetwork):
    """I3D's 400 logits of Kinetics-400, as FVD takes them.

    Args:
        kind: `i3d-torchscript`: the network of the original FVD, resizing bilinearly to 224 x 224 inside.
            `i3d-pytorch`: the port that DisCo and cd-fvd use, input resized by Pillow's bicubic filter in floating
            point, on the CPU, its overshoot not clipped, as in DisCo's code.
        path: the published file of that network.
    """

    num_features = 400

    def __init__(self, kind: Literal["i3d-torchscript", "i3d-pytorch"], path: Path) -> None:
        super().__init__(kind, sha256(path))
        self.scripted = kind == "i3d-torchscript"
        if self.scripted:
            self.model = torch.jit.load(str(path), map_location="cpu")
        else:
            self.model = InceptionI3d(self.num_features, in_channels=3)
            load_unchecked(self.model, path)

    def prepare(self, frames_FCHW: Tensor) -> Tensor:
        """Do once for a video what does not depend on the windows cut from it: (F, 3, H', W')."""
        return (
            frames_FCHW if self.scripted else resize_pillow(frames_FCHW, (I3D_SIZE, I3D_SIZE), clip=False) / 127.5 - 1
        )

    def forward(self, clips_BFCHW: Tensor) -> Tensor:
        """(B, 400) float32 logits of clips cut from what `prepare` returned."""
        clips_BCFHW = clips_BFCHW.transpose(1, 2).float().contiguous()
        if self.scripted:
            return self.model(clips_BCFHW, rescale=True, resize=True, return_features=True)
        return self.model(clips_BCFHW)
