"""Metrics of the generated person's face: identity (ArcFace) and quality (eDifFIQA)."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from eval.metrics.base import MeanMetric, NotComputable


class FaceMetric(MeanMetric):
    """Mean over frames; a frame without a face counts as 0, so that losing the face never helps."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("found", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _add_faces(self, values_B: Tensor, frames: int) -> None:
        self._add(torch.cat([values_B.double(), values_B.new_zeros(frames - len(values_B)).double()]), frames=frames)
        self.found += len(values_B)

    def details(self) -> dict[str, int | float | str]:
        return super().details() | {"seen": int(self.found) / max(1, int(self.frames))}


class Identity(FaceMetric):
    """Mean cosine similarity (CSIM) of ArcFace embeddings between each generated face and the reference image's.

    Range [-1, 1], higher is better, 1 if every face is the reference's; different people are near 0, which is also what
    a frame without a face counts as. The share of frames with one is reported as `seen`. Resolution: the face aligned
    to 112 x 112 by five landmarks of the protocol's pose extractor. Colour: 8-bit RGB. Pooling: mean over frames.
    Network: insightface's ArcFace ResNet-50 of WebFace600K, `w600k_r50.onnx` (4c06341c…), whose weights are licensed
    for non-commercial research only. Source: Deng et al. 2019.
    """

    def update(self, embeddings_BD: Tensor, reference_D: Tensor | None, *, frames: int) -> None:
        """Add one video.

        Args:
            embeddings_BD: of the frames that show a face.
            reference_D: of the reference image; None: no face is found in it.
            frames: how many the video has.

        Raises:
            NotComputable: the reference shows no face.
        """
        if reference_D is None:
            raise NotComputable("no face was found in the reference image")
        self._add_faces(cosine_similarity(embeddings_BD.double(), reference_D.double()[None]), frames)


class FaceQuality(FaceMetric):
    """Mean eDifFIQA(T) score of the generated faces: how fit for recognition: sharp, lit, frontal.

    Range about [0, 1], higher is better; good photographs score above 0.5, a frame without a face counts as 0. The
    share of frames with one is reported as `seen`. It knows no truth: a sharp face of somebody else scores well.
    Resolution: as for `Identity`. Colour: 8-bit RGB. Pooling: mean over frames. Network: OpenCV Zoo's
    `ediffiqa_tiny_jun2024.onnx` (9426c899…; CC-BY-4.0). Source: Babnik et al. 2024.
    """

    def update(self, scores_B: Tensor, *, frames: int) -> None:
        """Add one video's scores (B,) of the frames that show a face, out of `frames`."""
        self._add_faces(scores_B, frames)
