"""VideoMAE v2's clip features, as the content-debiased FVD takes them."""

from pathlib import Path

import torch
from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import vit_giant_patch14_224
from torch import Tensor
from torch.nn.functional import interpolate

from eval.networks.base import ClipNetwork
from src.common.digests import sha256

SIZE = 224
CLIP_LENGTH = 16


class VideoMAE(ClipNetwork):
    """Mean of the last tokens of VideoMAE v2 (ViT-g, fine-tuned on Something-Something v2), after its norm.

    Frames are resized bilinearly to 224 x 224 without antialiasing and scaled to [0, 1], as cd-fvd does: without the
    normalisation that the network was trained with.

    Args:
        path: `vit_g_hybrid_pt_1200e_ssv2_ft.pth`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("videomae-v2-ssv2", sha256(path))
        self.model = vit_giant_patch14_224(
            img_size=SIZE, num_classes=174, all_frames=CLIP_LENGTH, tubelet_size=2, use_mean_pooling=True
        )
        self.num_features = self.model.num_features
        published = torch.load(path, weights_only=True, map_location="cpu")
        self.model.load_state_dict(published.get("model", published.get("module", published)))

    def prepare(self, frames_FCHW: Tensor) -> Tensor:
        """Do once for a video what does not depend on the windows cut from it: (F, 3, 224, 224) float32."""
        return interpolate(frames_FCHW.float() / 255, size=(SIZE, SIZE), mode="bilinear", align_corners=False)

    def forward(self, clips_BFCHW: Tensor) -> Tensor:
        """(B, 1408) float32 features of 16-frame clips cut from what `prepare` returned."""
        return self.model.forward_features(clips_BFCHW.transpose(1, 2))
