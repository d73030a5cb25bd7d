"""Frames and networks that the tests of the evaluation share."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from cleanfid.inception_pytorch import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

import eval.networks.weights
from eval.networks.weights import WeightStore
from src.media.video import VideoReader

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"


def smooth_frames(count: int, size: int, seed: int) -> np.ndarray:
    """(F, H, W, 3) uint8: a coloured texture that drifts to the right."""
    noise = np.random.default_rng(seed).uniform(0, 255, (size, size + 2 * count, 3)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([texture[:, 2 * i : 2 * i + size] for i in range(count)])


@pytest.fixture(scope="session")
def real_frames() -> np.ndarray:
    """(4, 128, 128, 3) uint8 of a real clip, two people's worth of motion apart."""
    path = CLIPS / "ted_clip_1.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is not there: real clips come with the shared data")
    frames = np.stack(list(VideoReader(path, stop=31))[::10])
    return np.ascontiguousarray(frames[:, 64:320:2, 64:320:2])


def to_tensor(frames_FHWC: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames_FHWC)).permute(0, 3, 1, 2).contiguous()


class ScriptedInception(nn.Module):
    """The interface of the published TorchScript file: `layers` on what lies in [-1, 1]."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ScriptedI3D(nn.Module):
    """The interface of the published TorchScript file, on a network small enough for a test."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 400, (3, 16, 16), stride=(1, 16, 16))

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        if resize:
            batch, channels, frames, height, width = x.shape
            flat = x.transpose(1, 2).reshape(batch * frames, channels, height, width)
            flat = nn.functional.interpolate(flat, size=(32, 32), mode="bilinear", align_corners=False)
            x = flat.reshape(batch, frames, channels, 32, 32).transpose(1, 2)
        if rescale:
            x = 2 * x / 255 - 1
        features = torch.relu(self.conv(x)).mean((2, 3, 4))
        return features if return_features else features.softmax(1)


def random_inception() -> nn.Module:
    """The architecture of FID, initialised by torch's current seed."""
    model = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    model.Mixed_5b, model.Mixed_5c, model.Mixed_5d = (
        FIDInceptionA(192, 32),
        FIDInceptionA(256, 64),
        FIDInceptionA(288, 64),
    )
    for block, channels in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
        setattr(model, f"Mixed_6{block}", FIDInceptionC(768, channels))
    model.Mixed_7b, model.Mixed_7c = FIDInceptionE_1(1280), FIDInceptionE_2(2048)
    return model.eval()


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published architectures with seeded random weights, under the published names; I3D's TorchScript is small."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inception = random_inception()
        torch.save(inception.state_dict(), folder / "pt_inception-2015-12-05-6726825d.pth")
        inception.fc = nn.Identity()
        with torch.no_grad():
            layers = torch.jit.trace(inception, torch.zeros(1, 3, 299, 299), check_trace=False)
        torch.jit.script(ScriptedInception(layers)).save(str(folder / "inception-2015-12-05.pt"))
        torch.jit.script(ScriptedI3D()).save(str(folder / "i3d_torchscript.pt"))
        torch.save(InceptionI3d(400, in_channels=3).state_dict(), folder / "i3d_pretrained_400.pt")
        torch.save(torchvision.models.alexnet(weights=None).state_dict(), folder / "alexnet-owt-7be5be79.pth")
        vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = vision | {"vocab_size": 64, "eos_token_id": 2, "bos_token_id": 1}
        config = CLIPConfig(
            text_config=text, vision_config=vision | {"image_size": 224, "patch_size": 32}, projection_dim=16
        )
        model = CLIPModel(config)
        model.save_pretrained(folder / "clip-vit-base-patch32")
        torch.save(model.state_dict(), folder / "clip-vit-base-patch32" / "pytorch_model.bin")
        (folder / "clip-vit-base-patch32" / "model.safetensors").unlink()
        CLIPImageProcessor().save_pretrained(folder / "clip-vit-base-patch32")
    return folder


@pytest.fixture
def random_weights(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> WeightStore:
    """A store that accepts those files: their checksums are not the published ones."""
    files = {name: dataclasses.replace(entry, sha256=None) for name, entry in eval.networks.weights.FILES.items()}
    hub = {
        name: dataclasses.replace(entry, sha256=None, settings={}) for name, entry in eval.networks.weights.HUB.items()
    }
    monkeypatch.setattr(eval.networks.weights, "FILES", files)
    monkeypatch.setattr(eval.networks.weights, "HUB", hub)
    return WeightStore(weights_folder, download=False)
