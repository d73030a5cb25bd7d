"""DINOv2's image features, as FD-DINOv2 takes them."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import Dinov2Model

from eval.networks.base import Network, squeeze_pillow

SIZE = 224
# Of the released code, so that rounding never loses a row of patches.
OFFSET = 0.1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DINOv2(Network):
    """The class token of DINOv2 after its last norm.

    Frames are squeezed to 224 x 224 by Pillow's bicubic filter to 8 bit, as Stein et al.'s code does. The position
    embeddings are brought to that size as in the released code, which adds 0.1 to the number of patches; transformers
    does not, and differs in the third digit.

    Args:
        folder: a transformers folder of a Dinov2Model.
        digest: SHA-256 of its weights' file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, folder: Path, *, name: str, digest: str) -> None:
        super().__init__(name, digest)
        self.model = Dinov2Model.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self.num_features = self.model.config.hidden_size
        embeddings = self.model.embeddings
        patch = self.model.config.patch_size
        assert isinstance(patch, int), "DINOv2's patches are square"
        side = SIZE // patch
        embeddings.position_embeddings = nn.Parameter(_resampled(embeddings.position_embeddings.detach(), side))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """(B, D) float32 features of (B, 3, H, W) uint8 RGB frames; D is 1024 for the large network."""
        return self.model((squeeze_pillow(frames_BCHW, SIZE) - self.mean) / self.std).pooler_output


def _resampled(positions_1ND: Tensor, side: int) -> Tensor:
    """Position embeddings (1, 1 + N, D) of a square of patches for one of `side` patches."""
    class_11D, patches_1ND = positions_1ND[:, :1], positions_1ND[:, 1:]
    own = round(patches_1ND.shape[1] ** 0.5)
    if own == side:
        return positions_1ND
    grid_1DSS = patches_1ND.reshape(1, own, own, -1).permute(0, 3, 1, 2)
    grid_1DSS = interpolate(grid_1DSS, scale_factor=(side + OFFSET) / own, mode="bicubic")
    return torch.cat([class_11D, grid_1DSS.flatten(2).transpose(1, 2)], 1)
