"""The feature networks, with seeded random weights, against the libraries' own calls."""

import dataclasses
import json
import shutil
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel

import eval.networks.weights
from eval.metrics.lpips import LPIPS
from eval.networks.clip import CLIP
from eval.networks.i3d import I3D
from eval.networks.inception import Inception
from eval.networks.lpips import LPIPSNetwork
from eval.networks.networks import Networks, choose_device
from eval.networks.weights import HUB, WeightStore
from src.common.digests import sha256
from src.common.errors import UserError
from src.media.video import write_frames
from src.pose.extractors.mini import MiniExtractor
from tests.eval.conftest import random_inception, smooth_frames, to_tensor


def edged_frames(count: int, size: int) -> np.ndarray:
    """Frames with black and white side by side, beyond which a bicubic filter goes."""
    frames = smooth_frames(count, size, seed=0)
    frames[:, size // 4 : size // 2, ::2], frames[:, size // 4 : size // 2, 1::2] = 0, 255
    return frames


def fed_to(model: torch.nn.Module) -> list[torch.Tensor]:
    """What a network is given from now on: features of random weights hardly tell one input from another."""
    fed: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, given: fed.append(given[0].detach().clone()))
    return fed


def test_lpips_is_lpips(weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lpips' own constructor finds the same backbone in torch's cache and is fed by its own rule."""
    path = weights_folder / "alexnet-owt-7be5be79.pth"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / path.name).symlink_to(path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    own = lpips.LPIPS(net="alex", verbose=False)
    x, y = to_tensor(smooth_frames(3, 64, seed=0)), to_tensor(smooth_frames(3, 64, seed=1))
    network = LPIPSNetwork("alex", path, input_range=(-1, 1))
    for low in (0, -1):
        network.low = low
        with torch.no_grad():
            expected = own(x / 255, y / 255, normalize=low == -1).flatten()
        torch.testing.assert_close(network(x, y), expected, rtol=1e-4, atol=1e-6)
    assert network.sha256.endswith(sha256(path))
    metric = LPIPS()
    metric.update(network(x, y))
    assert metric.compute().item() == pytest.approx(expected.mean().item(), rel=1e-4)
    metric.reset()
    metric.update(network(x, x))
    assert metric.compute().item() == 0


def test_inception_features_are_clean_fids(weights_folder: Path, tmp_path: Path, random_weights: WeightStore) -> None:
    frames = edged_frames(3, 96)
    write_frames(tmp_path / "frames", frames)
    own = InceptionV3W(str(weights_folder), download=False)
    fed_theirs = fed_to(own)
    expected = get_folder_features(
        str(tmp_path / "frames"), own, num_workers=0, device=torch.device("cpu"), mode="clean", verbose=False
    )
    network = Inception("inception-torchscript", random_weights.file("inception-torchscript"))
    fed = fed_to(network.model)
    together = network(to_tensor(frames))
    torch.testing.assert_close(fed[0], fed_theirs[0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(network(to_tensor(frames[:1])), together[:1], rtol=1e-4, atol=1e-6)


def test_disco_inception_is_pytorch_fids(random_weights: WeightStore) -> None:
    frames = edged_frames(2, 96)
    model = random_inception()
    model.load_state_dict(torch.load(random_weights.file("inception-pytorch")))
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        x = torch.nn.functional.interpolate(to_tensor(frames) / 255, size=(299, 299), mode="bilinear")
        expected = model(2 * x - 1)
    network = Inception("inception-pytorch", random_weights.file("inception-pytorch"))
    fed = fed_to(network.model)
    np.testing.assert_allclose(network(to_tensor(frames)), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(fed[0], 2 * x - 1, rtol=0, atol=1e-5)


def test_disco_i3d_is_fed_as_disco_feeds_it(random_weights: WeightStore) -> None:
    """The real architecture, on one clip; frames resized channel by channel in floating point by Pillow."""
    frames = edged_frames(16, 64)
    path = random_weights.file("i3d-pytorch")
    model = InceptionI3d(400, in_channels=3).eval()
    model.load_state_dict(torch.load(path))
    resized = np.stack(
        [
            np.stack(
                [
                    np.asarray(Image.fromarray(frame[..., c].astype(np.float32)).resize((224, 224), Image.BICUBIC))
                    for c in range(3)
                ]
            )
            for frame in frames
        ]
    )
    with torch.no_grad():
        expected = model(torch.from_numpy(resized / 127.5 - 1).float().transpose(0, 1)[None])
    network = I3D("i3d-pytorch", path)
    fed = network.prepare(to_tensor(frames))
    torch.testing.assert_close(fed, torch.from_numpy(resized / 127.5 - 1).float(), rtol=0, atol=1e-5)
    assert fed.abs().max() > 1.01, "the filter's overshoot stays"
    logits = network(fed[None])
    assert logits.shape == (1, 400)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


def test_scripted_i3d_gets_8_bit_clips_and_resizes_itself(random_weights: WeightStore) -> None:
    frames = to_tensor(smooth_frames(16, 64, seed=0))
    network = I3D("i3d-torchscript", random_weights.file("i3d-torchscript"))
    scripted = torch.jit.load(str(random_weights.file("i3d-torchscript")))
    with torch.no_grad():
        expected = scripted(frames.float().transpose(0, 1)[None], rescale=True, resize=True, return_features=True)
    assert torch.equal(network(network.prepare(frames)[None]), expected)


def test_clip_embeddings_alone_equal_batched_and_follow_the_pillow_processor(random_weights: WeightStore) -> None:
    folder = random_weights.hub_folder("openai/clip-vit-base-patch32")
    network = CLIP(folder, name="clip", digest="", weights="pytorch_model.bin")
    frames = np.concatenate([smooth_frames(2, 96, seed=0), smooth_frames(1, 96, seed=1)])
    together = network(to_tensor(frames))
    alone = torch.cat([network(frame[None]) for frame in to_tensor(frames)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    pixels = CLIPImageProcessorPil()(images=[Image.fromarray(f) for f in frames], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(folder).get_image_features(pixels).pooler_output
    assert torch.cosine_similarity(together, expected).min() > 1 - 1e-4


def test_clip_loads_the_file_whose_checksum_is_recorded(random_weights: WeightStore, tmp_path: Path) -> None:
    """The library would take the other format where both lie in the folder."""
    shutil.copytree(random_weights.hub_folder("openai/clip-vit-base-patch32"), tmp_path / "clip")
    other = CLIPModel.from_pretrained(tmp_path / "clip")
    torch.nn.init.zeros_(other.visual_projection.weight)
    other.save_pretrained(tmp_path / "clip")
    assert (tmp_path / "clip/model.safetensors").is_file() and (tmp_path / "clip/pytorch_model.bin").is_file()
    frames = to_tensor(smooth_frames(1, 96, seed=0))
    features = {
        name: CLIP(tmp_path / "clip", name="clip", digest="", weights=name)(frames)
        for name in ("pytorch_model.bin", "model.safetensors")
    }
    assert features["pytorch_model.bin"].any() and not features["model.safetensors"].any()


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1").index == 1
    with pytest.raises(UserError, match="device=cuda:2, but the last of the 2 GPUs here is cuda:1"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="device=cuda:1, but the only GPU here is cuda:0"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["mps", "gpu", "cuda:x"])
def test_a_device_is_a_processor_or_a_gpu(name: str) -> None:
    with pytest.raises(UserError, match=f"device must be auto, cpu, cuda or cuda:N, got {name}"):
        choose_device(name)


def test_clip_is_refused_by_what_its_files_say_beside_the_weights(
    random_weights: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one checksum, with other activations or another resizing, it would give other numbers under its name."""
    name = "openai/clip-vit-base-patch32"
    shutil.copytree(random_weights.hub_folder(name), tmp_path / "clip-vit-base-patch32")
    settings = {**HUB[name].settings, "num_attention_heads": 2}  # of the random one
    entry = dataclasses.replace(HUB[name], sha256=None, settings=settings)
    monkeypatch.setitem(eval.networks.weights.HUB, name, entry)
    store = WeightStore(tmp_path, download=False)
    how = {"extractor": MiniExtractor(), "device": torch.device("cpu"), "batch_size": 1}
    folder = tmp_path / "clip-vit-base-patch32"
    # As the published file has them, which is older than the library.
    said = {
        "crop_size": 224,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "resample": 3,
        "size": 224,
    }
    said |= {key: settings[key] for key in ("image_mean", "image_std")}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    Networks(store, **how).clip(name)
    (folder / "preprocessor_config.json").write_text(json.dumps(said | {"resample": 2}))
    with pytest.raises(UserError, match=r"is not the published openai/clip.*: resample is 2, expected 3; delete"):
        Networks(store, **how).clip(name)
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("quick_gelu", "gelu"))
    with pytest.raises(UserError, match="hidden_act is gelu, expected quick_gelu"):
        Networks(store, **how).clip(name)
