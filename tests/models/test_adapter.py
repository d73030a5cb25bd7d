import pytest
import torch
from safetensors.torch import load_file, save_file

from src.common.errors import UserError
from src.models.adapter import controlvideo_state_dict, load_adapter, load_controlvideo_state_dict, save_adapter
from src.models.loading import random_image_model
from src.models.settings import build_backbone
from tests.conftest import TINY


def fresh(seed: int = 0):
    return build_backbone(random_image_model("tiny", base="tiny", seed=seed), TINY)


def test_round_trip_restores_every_trained_parameter(backbone, tmp_path):
    save_adapter(tmp_path / "adapter.safetensors", backbone, base="tiny", config={"name": "tiny"})
    other = fresh()
    assert load_adapter(tmp_path / "adapter.safetensors", other, base="tiny") == {"name": "tiny"}
    for name, parameter in backbone.trainable_state().items():
        assert torch.equal(parameter, other.trainable_state()[name]), name
    stored = load_file(tmp_path / "adapter.safetensors")
    assert stored.keys() == backbone.trainable_state().keys()


def test_adapter_of_another_base_is_refused(backbone, tmp_path):
    save_adapter(tmp_path / "adapter.safetensors", backbone, base="mine")
    with pytest.raises(UserError, match="base model 'mine'.*not those of 'yours'.*set model"):
        load_adapter(tmp_path / "adapter.safetensors", fresh(seed=1), base="yours")


def test_missing_and_extra_tensors_are_named(backbone, tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, backbone, base="tiny")
    state = load_file(path)
    name = next(iter(state))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({"else": state.pop(name), **state}, path, metadata)
    with pytest.raises(UserError, match=rf"1 missing \(first: {name}\); 1 unknown \(first: else\)"):
        load_adapter(path, fresh(), base="tiny")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no adapter at"), (b"nonsense", "not a readable safetensors file")]
)
def test_unreadable_adapters(content, message, tmp_path, backbone):
    path = tmp_path / "adapter.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_adapter(path, backbone, base="tiny")


def test_other_safetensors_are_no_adapter(tmp_path, backbone):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="is no PoseCrafter adapter"):
        load_adapter(tmp_path / "x.safetensors", backbone, base="tiny")


def test_controlvideo_names(backbone):
    unet_state, controlnet_state = controlvideo_state_dict(backbone)
    block = "down_blocks.0.attentions.0.transformer_blocks.0."
    for name in ("attn_temp.to_q.weight", "attn_temp.to_out.0.bias", "conv_temp.bias", "attn1.to_out.0.weight"):
        assert block + name in unet_state
    assert unet_state[block + "conv_temp.weight"].shape[2:] == (1, 1)
    assert not [name for name in (*unet_state, *controlnet_state) if "processor" in name]
    assert not [name for name in controlnet_state if "temp" in name]
    other = fresh(seed=3)
    load_controlvideo_state_dict(other, unet_state, controlnet_state)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    del unet_state[block + "conv_temp.bias"]
    with pytest.raises(UserError, match="1 missing"):
        load_controlvideo_state_dict(other, unet_state, controlnet_state)
