"""CLIP-I: similarity of the generated frames to the reference image."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from eval.metrics.base import MeanMetric


class CLIPI(MeanMetric):
    """Mean cosine similarity of CLIP embeddings between generated frames and the reference image.

    Range [-1, 1], higher is better, 1 if every frame is the reference. Resolution: the shorter edge to 224, centre
    crop. Colour: 8-bit RGB. Pooling: mean over frames. Network: CLIP ViT-B/32 (a6308213…). Source: Radford et al.
    2021; the paper's Sec. 5.1.
    """

    def update(self, embeddings_BD: Tensor, reference_D: Tensor) -> None:
        """Add frames' embeddings (B, D) against one reference embedding (D,)."""
        self._add(cosine_similarity(embeddings_BD.double(), reference_D.double()[None]), frames=len(embeddings_BD))
