"""Feature networks, apart from the distances that use them.

Dimensions: B images or clips, F frames, C = 3 channels in RGB order, H x W pixels, D features. Frames are uint8.
All run in float32 without TF32, so that a GPU and a CPU agree.
"""

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from cleanfid.inception_pytorch import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPImageProcessor, CLIPModel

from src.common.files import sha256

I3D_SIZE = 224
INCEPTION_SIZE = 299


class Network(nn.Module):
    """A frozen network with the name and hash that a result records.

    Attributes:
        name: as in the protocol.
        sha256: of its weights' file; of several, joined by "+".
    """

    def __init__(self, name: str, digest: str) -> None:
        super().__init__()
        self.name, self.sha256 = name, digest

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor: ...

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.eval()
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return super().__call__(*inputs)


class Inception(Network):
    """Inception-v3's 2048 pooled features, as FID takes them.

    Args:
        kind: `inception-torchscript`: clean-fid's network, input resized to 299 x 299 by Pillow's bicubic filter in
            floating point, on the CPU. `inception-pytorch`: pytorch-fid's, input resized by PyTorch's bilinear
            filter without antialiasing.
        path: the published file of that network, under its own name.
    """

    num_features = 2048

    def __init__(self, kind: Literal["inception-torchscript", "inception-pytorch"], path: Path) -> None:
        super().__init__(kind, sha256(path))
        self.pillow = kind == "inception-torchscript"
        self.model = InceptionV3W(str(path.parent), download=False) if self.pillow else pytorch_inception(path)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """(B, 2048) float32 features of (B, 3, H, W) uint8 RGB frames."""
        size = (INCEPTION_SIZE, INCEPTION_SIZE)
        if self.pillow:
            return self.model(_resize_pillow(frames_BCHW, size))
        x = F.interpolate(frames_BCHW.float(), size=size, mode="bilinear", align_corners=False)
        return self.model(2 * (x.clamp(0, 255) / 255) - 1)


class I3D(Network):
    """I3D's 400 logits of Kinetics-400, as FVD takes them.

    Args:
        kind: `i3d-torchscript`: the network of the original FVD, resizing bilinearly to 224 x 224 inside.
            `i3d-pytorch`: the port that DisCo and cd-fvd use, input resized by Pillow's bicubic filter in floating
            point, on the CPU, as DisCo does.
        path: the published file of that network.
    """

    num_features = 400

    def __init__(self, kind: Literal["i3d-torchscript", "i3d-pytorch"], path: Path) -> None:
        super().__init__(kind, sha256(path))
        self.scripted = kind == "i3d-torchscript"
        if self.scripted:
            self.model = torch.jit.load(str(path), map_location="cpu")
        else:
            self.model = InceptionI3d(self.num_features, in_channels=3)
            self.model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))

    def prepare(self, frames_FCHW: Tensor) -> Tensor:
        """Do once for a video what does not depend on the windows cut from it: (F, 3, H', W')."""
        return frames_FCHW if self.scripted else _resize_pillow(frames_FCHW, (I3D_SIZE, I3D_SIZE)) / 127.5 - 1

    def forward(self, clips_BFCHW: Tensor) -> Tensor:
        """(B, 400) float32 logits of clips cut from what `prepare` returned."""
        clips_BCFHW = clips_BFCHW.transpose(1, 2).float().contiguous()
        if self.scripted:
            return self.model(clips_BCFHW, rescale=True, resize=True, return_features=True)
        return self.model(clips_BCFHW)


class CLIP(Network):
    """CLIP's image embeddings, not normalised.

    Frames are resized and cropped as the folder's `preprocessor_config.json` says (for the published model: bicubic
    with antialiasing, shorter edge to 224, centre 224 x 224, 8-bit), by transformers, on the device.

    Args:
        folder: a transformers folder of a CLIPModel with its image processor.
        digest: SHA-256 of its weights' file.
    """

    def __init__(self, folder: Path, *, name: str, digest: str) -> None:
        super().__init__(name, digest)
        self.model = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self.processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """(B, D) float32 embeddings of (B, 3, H, W) uint8 RGB frames."""
        pixels = self.processor(images=list(frames_BCHW), return_tensors="pt", device=frames_BCHW.device)
        return self.model.get_image_features(pixels["pixel_values"]).pooler_output


def _resize_pillow(frames_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    resize = make_resizer("PIL", False, "bicubic", size)
    frames_BHWC = frames_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter lock while it resizes
        resized_BHWC = np.stack(list(pool.map(resize, frames_BHWC)))
    return torch.from_numpy(resized_BHWC).permute(0, 3, 1, 2).contiguous().to(frames_BCHW.device)


def pytorch_inception(path: Path | None) -> nn.Module:
    """pytorch-fid's network: torchvision's with the pooling of the TensorFlow original; None: random weights."""
    model = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    model.Mixed_5b = FIDInceptionA(192, pool_features=32)
    model.Mixed_5c = FIDInceptionA(256, pool_features=64)
    model.Mixed_5d = FIDInceptionA(288, pool_features=64)
    model.Mixed_6b = FIDInceptionC(768, channels_7x7=128)
    model.Mixed_6c = FIDInceptionC(768, channels_7x7=160)
    model.Mixed_6d = FIDInceptionC(768, channels_7x7=160)
    model.Mixed_6e = FIDInceptionC(768, channels_7x7=192)
    model.Mixed_7b = FIDInceptionE_1(1280)
    model.Mixed_7c = FIDInceptionE_2(2048)
    if path is not None:
        model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    model.fc = nn.Identity()
    return model
