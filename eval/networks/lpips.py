"""LPIPS' network.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels. Frames are uint8.
"""

import importlib.resources
import warnings
from pathlib import Path
from typing import Literal

import lpips
import torch
from torch import Tensor, nn

from eval.networks.base import Network
from src.common.digests import sha256

# What the pooling of each backbone leaves a pixel of.
_SMALLEST = {"alex": 31, "vgg": 16}


class LPIPSNetwork(Network):
    """lpips' own model, version 0.1, with its calibrated heads and a torchvision backbone from a file.

    Args:
        backbone: `alex` or `vgg` (VGG-16).
        path: torchvision's weights of that network; None leaves it as it is initialised, for tests.
        input_range: what [0, 255] is mapped to. The network expects (-1, 1).
    """

    def __init__(
        self, backbone: Literal["alex", "vgg"], path: Path | None, *, input_range: tuple[float, float]
    ) -> None:
        with warnings.catch_warnings():
            # lpips calls torchvision by its option names of 2021.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
            model = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
        heads = importlib.resources.files(lpips) / "weights" / "v0.1" / f"{backbone}.pth"
        digests = [sha256(str(heads))]
        if path is not None:
            published = torch.load(path, weights_only=True, map_location="cpu")
            # lpips cuts `features` into slices and keeps the indices: slice2.3.weight is features.3.weight.
            state = {key: published["features." + key.split(".", 1)[1]] for key in model.net.state_dict()}
            model.net.load_state_dict(state)
            digests.append(sha256(path))
        super().__init__(f"lpips-{backbone}", "+".join(digests))
        self.smallest = _SMALLEST[backbone]
        self.model: nn.Module = model
        self.low, self.high = input_range

    def forward(self, generated_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
        """Distances (B,) float32 of (B, 3, H, W) uint8 RGB pairs."""
        scale = (self.high - self.low) / 255
        x, y = (frames.float() * scale + self.low for frames in (generated_BCHW, real_BCHW))
        return self.model(x, y).flatten()
