"""DreamSim's published single branch: the package's own network against transformers' CLIP with the adapter merged."""

import io
import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from dreamsim.feature_extraction import load_open_clip_as_dino
from dreamsim.feature_extraction.vision_transformer import VisionTransformer
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.transforms.functional import normalize, to_tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import eval.networks.weights
from eval import score
from eval.networks.dreamsim import KIND, DreamSimNetwork
from eval.networks.weights import FILES
from src.common.errors import UserError
from tests.eval.conftest import smooth_frames
from tests.eval.conftest import to_tensor as frames_tensor

WIDTH, DEPTH, HEADS, EMBEDDING, RANK, ALPHA = 32, 2, 2, 16, 4, 3.0
CPU = torch.device("cpu")


def small(patch_size: int) -> VisionTransformer:
    """The published network is twelve blocks of 768."""
    sizes = {"patch_size": patch_size, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    return VisionTransformer(**sizes, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))


def checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Write a zip of the published layout; its backbone and its adapter, with seeded random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = small(32)
        model.pos_drop = nn.LayerNorm(WIDTH)
        state = {name: torch.randn_like(tensor) * 0.3 for name, tensor in model.state_dict().items()}
        state["patch_embed.proj.bias"] = torch.zeros(WIDTH)  # CLIP's has none
        state["proj"] = torch.randn(WIDTH, EMBEDDING)
        shapes = {"lora_A": (RANK, WIDTH), "lora_B": (3 * WIDTH, RANK)}
        adapter = {
            f"base_model.model.extractor_list.0.model.blocks.{block}.attn.qkv.{name}.weight": torch.randn(shape) * 0.3
            for block in range(DEPTH)
            for name, shape in shapes.items()
        }
    backbone = io.BytesIO()
    torch.save({"state_dict": state}, backbone)
    config = {"r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.3, "bias": "none", "target_modules": ["qkv"]}
    config |= {"peft_type": "LORA", "auto_mapping": {"parent_library": "nowhere"}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{KIND}_pretrain.pth.tar", backbone.getvalue())
        archive.writestr(f"{KIND}_single_lora/adapter_model.safetensors", save(adapter))
        archive.writestr(f"{KIND}_single_lora/adapter_config.json", json.dumps(config))
        archive.writestr("../outside.txt", "never unpacked")
    return state, adapter


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Tensor], dict[str, Tensor]]:
    monkeypatch.setattr(load_open_clip_as_dino, "vit_base", small)
    path = tmp_path / FILES["dreamsim-open-clip"].file
    return path, *checkpoint(path)


def clip_twin(state: dict[str, Tensor], adapter: dict[str, Tensor]) -> CLIPVisionModelWithProjection:
    """The same weights in transformers' CLIP, the adapter's product added to the attention's."""
    twin = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            projection_dim=EMBEDDING,
            image_size=224,
            patch_size=32,
            hidden_act="gelu",
            layer_norm_eps=1e-5,
        )
    )
    renamed = {
        "vision_model.embeddings.class_embedding": state["cls_token"][0, 0],
        "vision_model.embeddings.position_embedding.weight": state["pos_embed"][0],
        "vision_model.embeddings.patch_embedding.weight": state["patch_embed.proj.weight"],
        "visual_projection.weight": state["proj"].T,
    }
    for kind in ("weight", "bias"):
        renamed[f"vision_model.pre_layrnorm.{kind}"] = state[f"pos_drop.{kind}"]
        renamed[f"vision_model.post_layernorm.{kind}"] = state[f"norm.{kind}"]
    for block in range(DEPTH):
        old, new = f"blocks.{block}.", f"vision_model.encoder.layers.{block}."
        low, high = (
            adapter[f"base_model.model.extractor_list.0.model.{old}attn.qkv.lora_{side}.weight"] for side in "AB"
        )
        merged = {
            "weight": state[f"{old}attn.qkv.weight"] + high @ low * (ALPHA / RANK),
            "bias": state[f"{old}attn.qkv.bias"],
        }
        for kind, joined in merged.items():
            for name, part in zip(("q_proj", "k_proj", "v_proj"), joined.chunk(3), strict=True):
                renamed[f"{new}self_attn.{name}.{kind}"] = part
            renamed[f"{new}self_attn.out_proj.{kind}"] = state[f"{old}attn.proj.{kind}"]
            for theirs, ours in (("norm1", "layer_norm1"), ("norm2", "layer_norm2")):
                renamed[f"{new}{ours}.{kind}"] = state[f"{old}{theirs}.{kind}"]
            for layer in ("fc1", "fc2"):
                renamed[f"{new}mlp.{layer}.{kind}"] = state[f"{old}mlp.{layer}.{kind}"]
    missing, unexpected = twin.load_state_dict(renamed, strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    return twin.eval()


def distances(twin: CLIPVisionModelWithProjection, made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """1 - the correlation of the embeddings' components: each less its mean, then the cosine."""

    def embedded(frames: np.ndarray) -> np.ndarray:
        pictures = [
            normalize(
                to_tensor(Image.fromarray(frame).resize((224, 224), Image.BICUBIC)),
                [0.48145466, 0.4578275, 0.40821073],
                [0.26862954, 0.26130258, 0.27577711],
            )
            for frame in frames
        ]
        with torch.no_grad():
            return twin(torch.stack(pictures)).image_embeds.double().numpy()

    rows = zip(embedded(made), embedded(real), strict=True)
    return np.array([1 - np.corrcoef(mine, true)[0, 1] for mine, true in rows])


@pytest.fixture
def frames(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Real frames, where there are some, and the same damaged: noise, the negative, upside down."""
    try:
        real = request.getfixturevalue("real_frames")[:3]
    except pytest.skip.Exception:
        real = smooth_frames(3, 64, seed=0)
    noise = np.random.default_rng(0).integers(-60, 61, real[0].shape)
    return np.stack([(real[0] + noise).clip(0, 255).astype(np.uint8), 255 - real[1], real[2, ::-1]]), real


def test_dreamsim_is_the_packages_network_on_pillows_pictures(published, frames, tmp_path: Path) -> None:
    path, state, adapter = published
    made, real = frames
    network = DreamSimNetwork(path, device=CPU)
    ours = network(frames_tensor(made), frames_tensor(real)).numpy()
    theirs = distances(clip_twin(state, adapter), made, real)
    assert theirs.max() > 1e-3, "damage is seen"
    np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=1e-3)
    without = {name: tensor * 0 for name, tensor in adapter.items()}
    assert abs(distances(clip_twin(state, without), made, real) / theirs - 1).max() > 0.1, "the adapter counts"
    np.testing.assert_allclose(network(frames_tensor(real[:1]), frames_tensor(real[:1])).numpy(), [0], atol=1e-6)
    assert not (tmp_path.parent / "outside.txt").exists()


def test_the_metric_is_the_mean_over_frames_or_missing(published, frames, tmp_path: Path, monkeypatch, capsys) -> None:
    path, state, adapter = published
    made, real = frames
    options = {"metrics": ["dreamsim"], "device": "cpu", "download": False}
    result = score(made, real, weights=path.parent, **options)
    expected = distances(clip_twin(state, adapter), made, real).mean()
    assert result["metrics"]["dreamsim"]["value"] == pytest.approx(expected, abs=2e-6, rel=1e-3)
    assert result["metrics"]["dreamsim"]["network"]["name"] == f"dreamsim-{KIND}"
    assert capsys.readouterr().out == "", "standard output is for the result"
    path.rename(tmp_path / "elsewhere.zip")
    monkeypatch.setattr(eval.networks.weights, "_cache", lambda: tmp_path / "none")
    missing = score(made, real, weights=path.parent, **options)["missing"]["dreamsim"]
    assert missing.startswith(f"{path.name} is absent: get it from https://github.com/ssundaram21/dreamsim/")


def test_another_file_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("weights.bin", b"")
    (tmp_path / "text.zip").write_text("no zip")
    for name in ("other.zip", "text.zip"):
        with pytest.raises(UserError, match=rf"{name} is not DreamSim's open_clip_vitb32"):
            DreamSimNetwork(tmp_path / name, device=CPU)
