"""What every network that judges shares, and how several of them resize frames.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels. Frames are uint8.
"""

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from cleanfid.resize import make_resizer
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


def resize_pillow(frames_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 frames by Pillow's bicubic filter in floating point, on the CPU.

    The filter overshoots at edges: values leave [0, 255], and are not clipped.

    Returns:
        (B, 3, *size) float32 on the frames' device.
    """
    resize = make_resizer("PIL", False, "bicubic", size)
    frames_BHWC = frames_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter lock while it resizes
        resized_BHWC = np.stack(list(pool.map(resize, frames_BHWC)))
    return torch.from_numpy(resized_BHWC).permute(0, 3, 1, 2).contiguous().to(frames_BCHW.device)
