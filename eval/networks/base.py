"""What every network that judges shares, and how several of them resize frames.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels. Frames are uint8.
"""

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from src.common.errors import UserError
from src.models.weights_file import read_tensors


class Network(nn.Module):
    """A frozen network with the name and hash that a result records.

    It runs in float32 without TF32, so that a GPU and a CPU agree.

    Attributes:
        name: as in the protocol.
        sha256: of its weights' file; of several, joined by "+".
        smallest: side in pixels of the frames that it can look at.
    """

    smallest: int = 1

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


def load_unchecked(model: nn.Module, path: Path, *, renamed: Callable[[str], str] = str) -> None:
    """Load a file whose publisher gives no checksum, so that it may hold anything.

    Args:
        renamed: from the file's names to the model's.

    Raises:
        UserError: it is no checkpoint, holds more than weights, or those of another network.
    """
    tensors = read_tensors(str(path), option="weights")
    try:
        model.load_state_dict({renamed(name): tensor for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise UserError(f"{path} holds the weights of another network: put the published file in its place") from error


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


def squeeze_pillow(frames_BCHW: Tensor, side: int) -> Tensor:
    """(B, 3, side, side) float32 in [0, 1] of uint8 frames, as code does that reads its pictures by Pillow.

    Squeezed to a square by its bicubic filter, to 8 bits, on the CPU.
    """

    def squeeze(frame_HWC: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(frame_HWC).resize((side, side), Image.Resampling.BICUBIC))

    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter lock while it resizes
        squeezed = list(pool.map(squeeze, frames_BCHW.permute(0, 2, 3, 1).cpu().numpy()))
    pixels_BHWC = torch.from_numpy(np.stack(squeezed)).to(frames_BCHW.device)
    return pixels_BHWC.permute(0, 3, 1, 2).float() / 255
