"""Geometry of DisCo's inputs (section 2): crops, and pictures to tensors.

Dimensions: H×W pixels, S the side of a square; images are uint8 RGB.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD


@dataclass(frozen=True)
class Square:
    """A square part of a picture, in pixels from its upper left corner."""

    left: int
    top: int
    side: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part of an (H, W, ...) array."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]


def centre_square(height: int, width: int) -> Square:
    """The centre square of the shorter side: what is generated, and compared with.

    >>> centre_square(5, 9)
    Square(left=2, top=0, side=5)
    """
    side = min(height, width)
    return Square((width - side) // 2, (height - side) // 2, side)


def random_square(height: int, width: int, *, least_area: float, generator: torch.Generator) -> Square:
    """A random square of the shorter side, then within it one of between `least_area` and all of its area."""
    side = min(height, width)
    left, top = _below(width - side + 1, generator), _below(height - side + 1, generator)
    area = least_area + (1 - least_area) * float(torch.rand((), generator=generator))
    inner = min(side, max(1, round(side * area**0.5)))
    return Square(left + _below(side - inner + 1, generator), top + _below(side - inner + 1, generator), inner)


def _below(stop: int, generator: torch.Generator) -> int:
    return int(torch.randint(stop, (), generator=generator))


def unit_image(image: np.ndarray, square: Square, size: int) -> Tensor:
    """A part of an (H, W, 3) picture as (3, size, size) in [0, 1], bilinear as PIL has it."""
    resized = Image.fromarray(np.ascontiguousarray(square.of(image))).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255


def signed_image(image: np.ndarray, square: Square, size: int) -> Tensor:
    """The same in [-1, 1], as the VAE takes it."""
    return unit_image(image, square, size) * 2 - 1


def background_image(image: np.ndarray, mask: np.ndarray, square: Square, size: int) -> Tensor:
    """A picture (3, size, size) in [-1, 1] in which the person is mid-grey.

    Args:
        mask: (H, W) float in [0, 1], 1 where the person is.
    """
    mask_1SS = _mask_tensor(mask, square)
    # The mask goes the way of the picture: bilinear with antialiasing.
    resized = F.interpolate(mask_1SS[None], (size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return signed_image(image, square, size) * (1 - resized)


def foreground_image(image: np.ndarray, mask: np.ndarray, square: Square, size: int) -> Tensor:
    """The person for CLIP, (3, size, size): bicubic without antialiasing or clamping, normalised, zero outside.

    Args:
        mask: (H, W) float in [0, 1], 1 where the person is.
    """
    image_3SS = torch.from_numpy(np.ascontiguousarray(square.of(image))).permute(2, 0, 1).float() / 255
    image_3XX, mask_1XX = (
        F.interpolate(part[None], (size, size), mode="bicubic", align_corners=False)[0]
        for part in (image_3SS, _mask_tensor(mask, square))
    )
    mean, std = (torch.tensor(values)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (image_3XX - mean) / std * mask_1XX


def _mask_tensor(mask: np.ndarray, square: Square) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(square.of(mask), np.float32))[None]
