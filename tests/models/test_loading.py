import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from src.common.errors import UserError
from src.models.image_model import ImageModel
from src.models.loading import load_image_model, random_image_model
from tests.models.ldm_names import to_ldm


def save_folder(model: ImageModel, folder: Path) -> Path:
    for name in ("vae", "text_encoder", "tokenizer", "unet", "controlnet", "scheduler"):
        getattr(model, name).save_pretrained(folder / name)
    return folder


def assert_same_weights(one: ImageModel, other: ImageModel, *names: str) -> None:
    for network in names:
        expected = one.networks[network].state_dict()
        found = other.networks[network].state_dict()
        assert expected.keys() == found.keys(), network
        assert all(torch.equal(expected[name], found[name]) for name in expected), network


def test_a_folder_in_the_diffusers_layout(tiny, tmp_path):
    loaded = load_image_model(str(save_folder(tiny, tmp_path)))
    assert_same_weights(tiny, loaded, "vae", "text_encoder", "unet", "controlnet")
    assert torch.equal(loaded.encode_prompt("a person"), tiny.encode_prompt("a person"))


def test_the_controlnet_may_lie_elsewhere(tiny, tmp_path):
    other = random_image_model("tiny", base="tiny", seed=7)
    folder = save_folder(tiny, tmp_path / "base")
    other.controlnet.save_pretrained(tmp_path / "pose")
    loaded = load_image_model(str(folder), str(tmp_path / "pose"))
    assert_same_weights(other, loaded, "controlnet")
    assert_same_weights(tiny, loaded, "unet")


def test_a_single_file_in_the_original_layout(tmp_path):
    """Stable Diffusion's own names, at toy size; read with shipped configs and no network."""
    model = random_image_model("tiny", base="tiny", seed=3)
    save_file(to_ldm(model), tmp_path / "model.safetensors")
    model.controlnet.save_pretrained(tmp_path / "controlnet")
    loaded = load_image_model(str(tmp_path / "model.safetensors"), str(tmp_path / "controlnet"), configs="tiny")
    assert_same_weights(model, loaded, "unet", "vae", "text_encoder")
    assert loaded.scheduler.config.steps_offset == 1


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(0)
    one = random_image_model("tiny", base="tiny", seed=4)
    state = torch.random.get_rng_state()
    torch.manual_seed(9)
    assert_same_weights(one, random_image_model("tiny", base="tiny", seed=4), "unet", "vae", "text_encoder")
    torch.manual_seed(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(one.unet.conv_in.weight, random_image_model("tiny", base="t", seed=5).unet.conv_in.weight)


@pytest.mark.parametrize(
    ("base", "controlnet", "message"),
    [
        ("nowhere/at-all", None, r"model.base=nowhere/at-all could not be loaded.*set model.base=FOLDER"),
        ("gone.safetensors", "x", r"model.base=gone.safetensors: there is no such file"),
        ("gone.safetensors", None, r"single file, which holds no ControlNet: set model.controlnet"),
    ],
)
def test_weights_that_are_not_there(base, controlnet, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=message):
        load_image_model(base, controlnet)


def test_a_damaged_file_is_said_to_be_one(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="could not be loaded"):
        load_image_model(str(tmp_path / "x.safetensors"), "y", configs="tiny")


def test_unknown_configs_are_named():
    with pytest.raises(UserError, match="model.configs=big is unknown: choose one of sd15, tiny"):
        random_image_model("big", base="x", seed=0)


def test_long_prompts_are_cut_and_the_log_says_where(tiny, caplog):
    short = "word " * 5
    with caplog.at_level(logging.WARNING):
        tiny.encode_prompt(short)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        tiny.encode_prompt("x" * 75 + " the very end")
    assert "longer than 77 tokens" in caplog.text and "very end" in caplog.text


def test_latents_round_trip_shapes_and_resolution(tiny, people_clip):
    frames, _ = people_clip
    latents = tiny.encode_frames(frames[:3], chunk=2)
    assert latents.shape == (3, 4, 8, 8) and tiny.decode_latents(latents).shape == frames[:3].shape
    torch.testing.assert_close(latents, tiny.encode_frames(frames[:3]), rtol=0, atol=1e-5)
    tiny.check_resolution(128)
    with pytest.raises(UserError, match="data.resolution=100 does not suit this model: use a multiple of 64"):
        tiny.check_resolution(100)
