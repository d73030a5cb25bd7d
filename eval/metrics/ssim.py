"""SSIM: structural similarity of each generated frame and its ground truth.

Dimensions: B pairs, H x W pixels, C = 3 channels in RGB order, or 1 of luma left out.
"""

from typing import Literal, cast

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from eval.metrics.base import MeanMetric, NotComputable, same_shape

_GAUSSIAN_RADIUS, _SIGMA = 5, 1.5
_GAUSSIAN = np.exp(-0.5 * (np.arange(-_GAUSSIAN_RADIUS, _GAUSSIAN_RADIUS + 1) / _SIGMA) ** 2)
_GAUSSIAN /= _GAUSSIAN.sum()
# (K1 L)² and (K2 L)² with the paper's K and L = 255.
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = {"gaussian": 2 * _GAUSSIAN_RADIUS + 1, "uniform": 7}


def ssim(
    generated_BCHW: Tensor,
    real_BCHW: Tensor,
    *,
    window: Literal["gaussian", "uniform"],
    color: Literal["rgb", "gray"],
) -> Tensor:
    """SSIM of each pair (Wang et al. 2004), the mean over the pixels whose window lies inside the frame.

    `gaussian` (sigma 1.5, 11 x 11, population covariance) is computed by torchmetrics on a GPU and with OpenCV's
    filter on a CPU, in half of scikit-image's time; `uniform` (7 x 7, sample covariance, scikit-image's default) by
    scikit-image. All in float64: in float32 the variance of a bright, flat background cancels, which costs up to 1e-4.

    Args:
        generated_BCHW, real_BCHW: (B, 3, H, W) uint8 RGB.
        color: `rgb`, the mean over the channels, or `gray`, on OpenCV's 8-bit luma.

    Returns:
        (B,) float64 in [-1, 1], 1 for identical frames.

    Raises:
        UserError: shapes differ.
        NotComputable: the frames are smaller than the window.
    """
    same_shape(generated_BCHW, real_BCHW)
    if min(generated_BCHW.shape[2:]) < _WINDOW[window]:
        height, width = generated_BCHW.shape[2:]
        raise NotComputable(f"SSIM's window is {_WINDOW[window]} pixels wide, but the frames are only {width}x{height}")
    if window == "gaussian" and color == "rgb" and generated_BCHW.is_cuda:
        _, map_BCHW = structural_similarity_index_measure(
            generated_BCHW.double(), real_BCHW.double(), data_range=255.0, reduction="none", return_full_image=True
        )
        r = _GAUSSIAN_RADIUS
        return map_BCHW[..., r:-r, r:-r].mean((1, 2, 3))
    return torch.tensor(
        [
            _similarity(x, y, window=window, color=color)
            for x, y in zip(_numpy(generated_BCHW), _numpy(real_BCHW), strict=True)
        ],
        dtype=torch.float64,
        device=generated_BCHW.device,
    )


def _numpy(frames_BCHW: Tensor) -> np.ndarray:
    return frames_BCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _similarity(x_HWC: np.ndarray, y_HWC: np.ndarray, *, window: str, color: str) -> float:
    if color == "gray":
        x_HWC, y_HWC = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (x_HWC, y_HWC))
    if window == "gaussian":
        return _gaussian_similarity(x_HWC.astype(np.float64), y_HWC.astype(np.float64))
    similarity = structural_similarity(x_HWC, y_HWC, data_range=255, channel_axis=None if color == "gray" else -1)
    return cast(float, similarity)  # and no map or gradient, which were not asked for


def _gaussian_similarity(x_HWC: np.ndarray, y_HWC: np.ndarray) -> float:
    """Mean of Eq. 13 of Wang et al.; both variances stand there as their sum, so that four filters do."""
    mean_x, mean_y = _local_mean(x_HWC), _local_mean(y_HWC)
    products = mean_x * mean_y
    squares = np.square(mean_x, out=mean_x) + np.square(mean_y, out=mean_y)
    covariance = _local_mean(x_HWC * y_HWC) - products
    variances = _local_mean(np.square(x_HWC, out=x_HWC) + np.square(y_HWC, out=y_HWC)) - squares
    return float(((2 * products + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))).mean())


def _local_mean(values_HWC: np.ndarray) -> np.ndarray:
    r = _GAUSSIAN_RADIUS
    return cv2.sepFilter2D(values_HWC, cv2.CV_64F, _GAUSSIAN, _GAUSSIAN)[r:-r, r:-r]


class SSIM(MeanMetric):
    """Mean SSIM over all pairs of frames.

    Range [-1, 1], higher is better, 1 for identical frames. Resolution: the frames' own. Colour: 8-bit RGB (or the
    protocol's grey), data range 255. Pooling: mean over frames. Network: none. Source: Wang et al. 2004; the paper's
    Sec. 5.1.
    """

    def __init__(self, *, window: Literal["gaussian", "uniform"], color: Literal["rgb", "gray"]) -> None:
        super().__init__()
        self.window: Literal["gaussian", "uniform"] = window
        self.color: Literal["rgb", "gray"] = color

    def update(self, generated_BCHW: Tensor, real_BCHW: Tensor) -> None:
        """Add (B, 3, H, W) uint8 RGB pairs."""
        values = ssim(generated_BCHW, real_BCHW, window=self.window, color=self.color)
        self._add(values, frames=len(values))
