"""LPIPS: learned perceptual distance of each generated frame and its ground truth."""

from torch import Tensor

from eval.metrics.base import MeanMetric


class LPIPS(MeanMetric):
    """Mean LPIPS over all pairs of frames.

    Range [0, about 1], lower is better, 0 for identical frames. Resolution: the frames' own. Colour: 8-bit RGB mapped
    to the protocol's input range ([-1, 1] is right). Pooling: mean over frames. Network: lpips 0.1 on torchvision's
    AlexNet (7be5be79…) or VGG-16 (397923af…) with lpips' heads. Source: Zhang et al. 2018, lpips; the paper's Sec. 5.1.
    """

    def update(self, distances_B: Tensor) -> None:
        """Add the network's distances (B,) of as many pairs of frames."""
        self._add(distances_B, frames=len(distances_B))
