"""CLIP's image tower, the network of CLIP-I and CLIP-T.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels, D features. Frames are uint8.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from eval.networks.base import Network


class CLIP(Network):
    """CLIP's image embeddings, not normalised.

    Frames are resized and cropped as the folder's `preprocessor_config.json` says (for the published model: bicubic
    with antialiasing, shorter edge to 224, centre 224 x 224, 8-bit), by transformers, on the device.

    Args:
        folder: a transformers folder of a CLIPModel with its image processor.
        digest: SHA-256 of its weights' file.
        weights: name of that file.
    """

    def __init__(self, folder: Path, *, name: str, digest: str, weights: str = "model.safetensors") -> None:
        super().__init__(name, digest)
        # Of the two formats the one whose checksum is recorded: the library would take the other where both lie there.
        safe = weights.endswith(".safetensors")
        self.model = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32, use_safetensors=safe)
        self.processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """(B, D) float32 embeddings of (B, 3, H, W) uint8 RGB frames."""
        pixels = self.processor(images=list(frames_BCHW), return_tensors="pt", device=frames_BCHW.device)
        features = cast(BaseModelOutputWithPooling, self.model.get_image_features(pixels["pixel_values"])).pooler_output
        assert features is not None
        return features
