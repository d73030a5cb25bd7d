"""L1 as the tables of DisCo and its followers have it."""

from torch import Tensor

from eval.metrics.base import MeanMetric, same_shape


class L1(MeanMetric):
    """Mean absolute difference of 8-bit values, divided by the number of pixels of a frame.

    Range [0, 255 / (H W)], lower is better, 0 for identical frames. Resolution: the frames' own, which it depends on
    (256 x 256 in DisCo's table). Colour: 8-bit RGB. Pooling: mean over frames. Network: none. Source: the public code
    of Wang et al. 2024 (DisCo), `l1_eval`.
    """

    def update(self, generated_BCHW: Tensor, real_BCHW: Tensor) -> None:
        """Add (B, 3, H, W) uint8 RGB pairs."""
        same_shape(generated_BCHW, real_BCHW)
        difference_BCHW = (generated_BCHW.double() - real_BCHW.double()).abs()
        height, width = generated_BCHW.shape[-2:]
        self._add(difference_BCHW.mean((1, 2, 3)) / (height * width), frames=len(generated_BCHW))
