"""What folders and files of Stable Diffusion look like in the wild, on small files with the real names.

Full-size ones: `python -m tests.models.full_size_layouts`. ControlNets, variants and files without a VAE:
`test_loading.py`; LoRAs and textual inversions: `test_additions.py`.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.models.image_model import ImageModel
from src.models.loading import random_image_model
from tests.models.ldm_names import to_ldm, to_ldm_controlnet
from tests.models.loaded import loaded_model
from tests.models.test_loading import assert_same_weights, save_folder

NETWORKS = ("vae", "text_encoder", "unet", "controlnet")
# Of the VAE's attention, as folders from before diffusers 0.18 have them.
OLD_VAE = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


@pytest.fixture
def model() -> ImageModel:
    return random_image_model("tiny", base="tiny", seed=3)


def weights_of(folder: Path, part: str) -> Path:
    [path] = (folder / part).glob("*.safetensors")
    return path


def test_a_folder_of_bin_files(model, tmp_path):
    folder = save_folder(model, tmp_path)
    for part in NETWORKS:
        path = weights_of(folder, part)
        name = "pytorch_model.bin" if part == "text_encoder" else path.with_suffix(".bin").name
        torch.save(load_file(path), path.with_name(name))
        path.unlink()
    assert_same_weights(model, loaded_model(str(folder)), *NETWORKS)


def test_a_folder_in_shards(model, tmp_path):
    folder = save_folder(model, tmp_path)
    for part in NETWORKS:
        weights_of(folder, part).unlink()
        model.networks[part].save_pretrained(folder / part, max_shard_size="100KB")
        assert len(list((folder / part).glob("*-of-*.safetensors"))) > 1, part
    assert_same_weights(model, loaded_model(str(folder)), *NETWORKS)


def test_a_folder_with_the_key_names_of_old_libraries(model, tmp_path):
    folder = save_folder(model, tmp_path)
    path = weights_of(folder, "vae")
    renamed = {}
    for name, tensor in load_file(path).items():
        for new, old in OLD_VAE.items():
            name = name.replace(new, old) if ".attentions." in name else name
        renamed[name] = tensor
    assert sum(".query." in name for name in renamed) == 4, "weight and bias, in encoder and decoder"
    save_file(renamed, path, {"format": "pt"})
    path = weights_of(folder, "text_encoder")
    text = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(path).items()}
    save_file(text | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path, {"format": "pt"})
    assert_same_weights(model, loaded_model(str(folder)), *NETWORKS)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_single_file_with_moving_averages_gives_the_weights_themselves(suffix, model, tmp_path):
    tensors = to_ldm(model)
    unet = [name for name in tensors if name.startswith("model.diffusion_model.")]
    ema = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": torch.zeros(4) for name in unet}
    ema |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(470_000)}
    base = tmp_path / f"v1-5-ema{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": tensors | ema, "global_step": 470_000, "epoch": 12}, base)
    else:
        save_file(tensors | ema, base)
    net = tmp_path / "control_v11p_sd15_openpose.pth"
    torch.save(to_ldm_controlnet(model.controlnet), net)
    assert_same_weights(model, loaded_model(str(base), str(net), configs="tiny"), *NETWORKS)
