"""FID: Fréchet inception distance between all generated and all real frames of a data set."""

from typing import ClassVar

from eval.metrics.frechet import FrechetMetric


class FID(FrechetMetric):
    """Fréchet distance of Inception-v3 features.

    Range [0, inf), lower is better, about 0 for identical sets. Resolution: resized to 299 x 299 by the network's own
    rule (`eval.networks.inception`). Colour: 8-bit RGB. Pooling: all frames of all videos form one
    set; the value of one video alone would rest on too few samples. Network: Inception-v3 of
    2015-12-05, as TorchScript (f58cb9b6…, clean-fid) or as pytorch-fid's port (6726825d…). Source: Heusel et al. 2017;
    Parmar et al. 2022 (resizing); the paper's Sec. 5.1.
    """

    unit: ClassVar[str] = "frames"
