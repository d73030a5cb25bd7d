"""CLIP-T: temporal consistency of a generated video."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from eval.metrics.base import MeanMetric, NotComputable


def mean_pairwise_cosine(embeddings_FD: Tensor) -> Tensor:
    """Mean cosine similarity over all pairs of different frames, in O(F): (|sum of unit vectors|² - F) / (F (F - 1)).

    Args:
        embeddings_FD: (F, D).

    Returns:
        () float64 in [-1, 1].

    Raises:
        NotComputable: fewer than two frames.
    """
    num_frames = len(embeddings_FD)
    if num_frames < 2:
        raise NotComputable(f"CLIP-T compares the frames of a video and needs at least 2, got {num_frames}")
    total_D = normalize(embeddings_FD.double(), dim=1).sum(0)
    return (total_D.square().sum() - num_frames) / (num_frames * (num_frames - 1))


class CLIPT(MeanMetric):
    """Mean cosine similarity of CLIP embeddings over all pairs of frames of a video, then over videos.

    Range [-1, 1], higher is better, 1 for a still video. It does not see the order of the frames. Resolution: the
    shorter edge to 224, centre crop. Colour: 8-bit RGB. Pooling: each video weighs the same. Network: CLIP ViT-B/32
    (a6308213…). Source: the paper's Sec. 5.1.
    """

    unit: ClassVar[str] = "videos"

    def update(self, embeddings_FD: Tensor) -> None:
        """Add one whole video's embeddings (F, D)."""
        self._add(mean_pairwise_cosine(embeddings_FD)[None], frames=len(embeddings_FD))
