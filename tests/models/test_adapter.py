import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src.common.errors import UserError
from src.models.adapter import (
    METADATA_KEY,
    load_adapter,
    load_controlvideo_state_dict,
    read_adapter,
    save_adapter,
)
from src.models.build import build_backbone
from src.models.loading import random_image_model
from tests.conftest import TINY
from tests.models.controlvideo_names import controlvideo_state_dict


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


def rewrite(path, *, state=None, record=None):
    """The file with other tensors or other metadata."""
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    text = record if isinstance(record, str) else json.dumps(metadata | (record or {}))
    save_file(load_file(path) | (state or {}), path, {METADATA_KEY: text})


def test_adapters_that_are_not_finite_are_neither_written_nor_read(backbone, tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, backbone, base="tiny")
    name, value = next(iter(load_file(path).items()))
    rewrite(path, state={name: torch.full_like(value, torch.nan)})
    other = fresh()
    before = {n: p.clone() for n, p in other.trainable_state().items()}
    with pytest.raises(UserError, match=rf"not finite in 1 tensor \(first: {name}\).*lower optimizer.lr"):
        load_adapter(path, other, base="tiny")
    assert all(torch.equal(before[n], p) for n, p in other.trainable_state().items())
    with torch.no_grad():
        backbone.trainable_state()[name][0] = torch.inf
    with pytest.raises(UserError, match="the fine-tune diverged"):
        save_adapter(tmp_path / "new.safetensors", backbone, base="tiny")
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", r"damaged metadata \(JSONDecodeError\)"),
        ("[" * 100_000, r"damaged metadata \(RecursionError\)"),
        ("[1]", r"adapter format None"),
        (" " * 2**21, r"2097152 bytes of metadata, more than 1048576"),
        ({"version": True}, r"adapter format True"),
        ({"version": {"_target_": "os.system"}}, r"adapter format \{'_target_': 'os.sy"),
        ({"base": 3}, r"damaged metadata: base=3"),
        ({"base_probe": "x"}, r"damaged metadata: base_probe=x"),
        ({"base_probe": [1, None]}, r"damaged metadata: base_probe.1=null"),
        ({"config": []}, r"damaged metadata: config"),
        ({"more": 1}, r"damaged metadata: more is unknown"),
        ({"base_probe": [float("nan")] * 64}, r"(whose weights are not those of|damaged metadata)"),
    ],
)
def test_metadata_are_data_of_a_stranger(record, message, backbone, tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, backbone, base="tiny")
    rewrite(path, record=record)
    with pytest.raises(UserError, match=message) as error:
        load_adapter(path, fresh(), base="tiny")
    assert len(str(error.value)) < 1000


def test_shapes_are_compared_before_tensors_are_read(backbone, tmp_path, monkeypatch):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, backbone, base="tiny")
    name, value = next(iter(load_file(path).items()))
    rewrite(path, state={name: torch.zeros(*value.shape, 2)})
    monkeypatch.setattr("src.models.adapter.require_finite", lambda *_: pytest.fail("tensors were read"))
    with pytest.raises(UserError, match=rf"1 of another shape \(first: {name}\)"):
        load_adapter(path, fresh(), base="tiny")


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({"loras": []}, r"trained with model.loras=.*'weight': 0.5.*here it is \[\]: set it as it was"),
        ({"loras": [{"file": "moved.safetensors", "sha256": "a", "weight": 0.7}]}, r"trained with model.loras"),
        ({"clip_skip": 1}, r"trained with model.clip_skip=0, here it is 1"),
        ({"prediction_type": "v_prediction"}, r"trained with model.prediction_type=epsilon"),
    ],
)
def test_an_adapter_remembers_what_was_on_its_base(present, message, backbone, tmp_path):
    path = tmp_path / "adapter.safetensors"
    same = {"loras": [{"file": "x.safetensors", "sha256": "a", "weight": 0.5}]}
    save_adapter(path, backbone, base="tiny", additions=same)
    moved = {"loras": [{"file": "y.safetensors", "sha256": "a", "weight": 0.5}], "clip_skip": 0}
    load_adapter(path, fresh(), base="tiny", additions=moved)
    with pytest.raises(UserError, match=message):
        load_adapter(path, fresh(), base="tiny", additions=same | present)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"x": torch.zeros(2, dtype=torch.float8_e4m3fn)}, "x as other than floats of 16 bits or more"),
        ({"x": torch.zeros(2, dtype=torch.complex64)}, "x as other than floats of 16 bits or more"),
        ({f"x{number}": torch.zeros(0) for number in range(20_001)}, "in 20001 tensors: no adapter has so many"),
    ],
)
def test_what_no_adapter_holds_is_refused_before_it_is_read(backbone, tmp_path, tensors, said):
    """A type that PyTorch cannot look at ended in a traceback, and a third of a million tensors took minutes."""
    save_adapter(tmp_path / "own.safetensors", backbone, base="tiny")
    with safe_open(tmp_path / "own.safetensors", "pt") as own:
        save_file(tensors, tmp_path / "theirs.safetensors", own.metadata())
    for read in (read_adapter, lambda path: load_adapter(path, backbone, base="tiny")):
        with pytest.raises(UserError, match=said):
            read(tmp_path / "theirs.safetensors")
