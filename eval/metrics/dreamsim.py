"""DreamSim: perceptual distance of each generated frame and its ground truth, learned from what people find alike."""

from torch import Tensor

from eval.metrics.base import MeanMetric


class DreamSim(MeanMetric):
    """Mean DreamSim distance over all pairs of frames.

    Range [0, 2], lower is better, 0 for identical frames. Resolution: squeezed to 224 x 224 by Pillow's bicubic filter
    to 8 bits. Colour: 8-bit RGB. Pooling: mean over frames. Network: dreamsim 0.2's `open_clip_vitb32`, of a single
    branch, not the ensemble that its paper's headline figure is of; the zip's SHA-256 is recorded, none is published.
    Source: Fu, Tamir et al. 2023, dreamsim.
    """

    def update(self, distances_B: Tensor) -> None:
        """Add the network's distances (B,) of as many pairs of frames."""
        self._add(distances_B, frames=len(distances_B))
