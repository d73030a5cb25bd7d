"""What every network that judges shares, and how several of them resize frames.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels. Frames are uint8.
"""

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


class Network(nn.Module):
    """A frozen network with the name and hash that a result records.

    It runs in float32 without TF32, so that a GPU and a CPU agree.

    Attributes:
        name: as in the protocol.
        sha256: of its weights' file; of several, joined by "+".
    """

    def __init__(self, name: str, digest: str) -> None:
        super().__init__()
        self.name, self.sha256 = name, digest

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor: ...

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.eval()
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return super().__call__(*inputs)


class ClipNetwork(Network):
    """A network of short videos, which are cut from a longer one as overlapping windows."""

    num_features: int

    @abstractmethod
    def prepare(self, frames_FCHW: Tensor) -> Tensor:
        """Do once for a video what does not depend on the windows cut from it: (F, 3, H', W') of uint8 frames."""


def resize_pillow(frames_BCHW: Tensor, size: tuple[int, int], *, clip: bool) -> Tensor:
    """Resize uint8 frames by Pillow's bicubic filter in floating point, on the CPU, each channel by itself.

    Args:
        clip: bring what the filter overshoots at edges back to [0, 255], as clean-fid does and DisCo does not.

    Returns:
        (B, 3, *size) float32 on the frames' device.
    """
    shape = (size[1], size[0])

    def resize(frame_CHW: np.ndarray) -> np.ndarray:
        channels = [Image.fromarray(channel).resize(shape, Image.Resampling.BICUBIC) for channel in frame_CHW]
        return np.stack([np.asarray(channel) for channel in channels])

    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter lock while it resizes
        resized_BCHW = torch.from_numpy(np.stack(list(pool.map(resize, frames_BCHW.float().cpu().numpy()))))
    return (resized_BCHW.clamp(0, 255) if clip else resized_BCHW).to(frames_BCHW.device)
