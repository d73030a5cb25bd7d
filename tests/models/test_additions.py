"""LoRAs, textual inversions and skipped text layers: what they do to the weights and to the embedding of a prompt."""

import pytest
import torch
from safetensors.torch import save_file

from src.common.errors import UserError
from src.models.loading import random_image_model
from src.models.settings import LoraSettings
from tests.models.ldm_names import to_kohya_lora
from tests.models.loaded import loaded_model

WIDTH, RANK = 32, 2
Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn"
KOHYA = {
    f"lora_unet_{Q.replace('.', '_')}": ("unet", f"{Q}.weight"),
    f"lora_unet_{K.replace('.', '_')}": ("unet", f"{K}.weight"),
    f"{TEXT}_q_proj": ("text_encoder", "encoder.layers.0.self_attn.q_proj.weight"),
    f"{TEXT}_out_proj": ("text_encoder", "encoder.layers.0.self_attn.out_proj.weight"),
}


def loaded(**settings):
    return loaded_model("tiny", configs="tiny", random_seed=0, **settings)


@pytest.fixture
def lora(tmp_path):
    """A file in kohya's layout, as nearly all are, and the matrices that it amounts to."""
    tensors = to_kohya_lora(list(KOHYA), RANK, WIDTH, seed=1)
    save_file(tensors, tmp_path / "style.safetensors")
    products = {
        place: tensors[f"{name}.alpha"] / RANK * tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
        for name, place in KOHYA.items()
    }
    return str(tmp_path / "style.safetensors"), products


def changes(model, tiny):
    """Differences to the toy model's own weights, of those that differ."""
    out = {}
    for network in ("unet", "text_encoder", "vae", "controlnet"):
        before = tiny.networks[network].state_dict()
        after = model.networks[network].state_dict()
        assert before.keys() == after.keys(), "nothing of the LoRA's own layers stays"
        prefix = "text_model." if any(n.startswith("text_model.") for n in after) else ""
        out |= {
            (network, name.removeprefix(prefix)): after[name] - before[name]
            for name in after
            if not torch.equal(before[name], after[name])
        }
    return out


def test_a_lora_adds_its_product_times_its_weight_and_nothing_else(lora, tiny):
    path, products = lora
    model = loaded(loras=[LoraSettings(path=path, weight=0.5)])
    found = changes(model, tiny)
    assert found.keys() == products.keys()
    for place, change in found.items():
        torch.testing.assert_close(change, 0.5 * products[place], rtol=0, atol=1e-5)
    assert not any(p.requires_grad for p in model.unet.parameters())
    [record] = model.additions["loras"]
    assert record["weight"] == 0.5 and len(record["sha256"]) == 64 and record["file"] == "style.safetensors"


def test_loras_add_up(lora, tiny):
    path, products = lora
    model = loaded(loras=[LoraSettings(path=path, weight=0.5), LoraSettings(path=path, weight=-0.2)])
    for place, change in changes(model, tiny).items():
        torch.testing.assert_close(change, 0.3 * products[place], rtol=0, atol=1e-5)


def test_the_layout_of_diffusers_and_peft(lora, tiny, tmp_path):
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(RANK, WIDTH, generator=generator), torch.randn(WIDTH, RANK, generator=generator)
    save_file({f"unet.{Q}.lora_A.weight": down, f"unet.{Q}.lora_B.weight": up}, tmp_path / "peft.safetensors")
    found = changes(loaded(loras=[LoraSettings(path=str(tmp_path / "peft.safetensors"))]), tiny)
    assert list(found) == [("unet", f"{Q}.weight")]
    torch.testing.assert_close(found["unet", f"{Q}.weight"], up @ down, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            to_kohya_lora([name for name in KOHYA if "attn2" in name], RANK, 2048, seed=0),
            r"xl.safetensors was made for text width 2048, the base model has 32",
        ),
        ({"some.weight": torch.zeros(2, 2)}, r"model.loras=.*could not be read as a LoRA"),
        (to_kohya_lora(["lora_unet_no_such_layer"], RANK, WIDTH, seed=0), r"(fits no layer|could not be read)"),
    ],
)
def test_loras_that_do_not_fit_are_refused(tensors, message, tmp_path):
    save_file(tensors, tmp_path / "xl.safetensors")
    with pytest.raises(UserError, match=message) as error:
        loaded(loras=[LoraSettings(path=str(tmp_path / "xl.safetensors"))])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["gone.safetensors", "some/hub-id"])
def test_loras_that_are_not_there(path):
    with pytest.raises(UserError, match="model.loras.*(there is no such file|is no file of weights)"):
        loaded(loras=[LoraSettings(path=path)])


@pytest.mark.parametrize("layout", ["one tensor", "A1111", "collection"])
@pytest.mark.parametrize("vectors", [1, 3])
def test_a_textual_inversion_is_a_word_of_the_prompt(layout, vectors, tiny, tmp_path):
    embedding = torch.randn(vectors, WIDTH, generator=torch.Generator().manual_seed(0))
    path = tmp_path / ("learned_embeds.bin" if layout == "collection" else "my-face.pt")
    if layout == "A1111":
        content = {"string_to_token": {"*": 265}, "string_to_param": {"*": embedding}, "name": "x", "step": 5}
    elif layout == "collection":
        content = {"<my-face>": embedding if vectors > 1 else embedding[0]}
    else:
        content = {"emb_params": embedding}
    torch.save(content, path)
    word = "<my-face>" if layout == "collection" else "my-face"
    model = loaded(embeddings=[str(path)])
    assert model.additions["embeddings"][0]["word"] == word
    ids = model.tokenizer(f"a photo of {word}").input_ids
    table = model.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[-vectors:], embedding) and len(table) - vectors in ids
    prompt = f"a photo of {word} here"
    assert not torch.equal(model.encode_prompt(prompt), tiny.encode_prompt(prompt))
    assert torch.equal(model.encode_prompt("a photo"), tiny.encode_prompt("a photo"))
    if vectors > 1:  # every vector takes part
        table[-1].data.zero_()
        again = model.encode_prompt(prompt)
        table[-1].data.copy_(embedding[-1])
        assert not torch.equal(model.encode_prompt(prompt), again)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"clip_l": torch.zeros(1, 768), "clip_g": torch.zeros(1, 1280)}, r"holds clip_l \(1, 768\).*of width 32"),
        (
            {"emb_params": torch.zeros(2, 768)},
            r"holds emb_params \(2, 768\): expected one textual inversion of width 32",
        ),
        ({}, r"holds no tensors: expected"),
    ],
)
def test_textual_inversions_that_do_not_fit_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "word.pt")
    with pytest.raises(UserError, match=message):
        loaded(embeddings=[str(tmp_path / "word.pt")])


def test_clip_skip_takes_an_earlier_layer_normed(tiny):
    """As the library's own pipeline does: hidden states before the last layers, through the final norm."""
    tokens = tiny.tokenizer("a person", padding="max_length", max_length=77, return_tensors="pt").input_ids
    hidden = tiny.text_encoder(tokens, output_hidden_states=True).hidden_states
    text_model = getattr(tiny.text_encoder, "text_model", tiny.text_encoder)
    skipped = loaded(clip_skip=1)
    assert torch.equal(skipped.encode_prompt("a person"), text_model.final_layer_norm(hidden[-2]))
    assert not torch.allclose(skipped.encode_prompt("a person"), tiny.encode_prompt("a person"))
    assert torch.equal(loaded().encode_prompt("a person"), text_model.final_layer_norm(hidden[-1]))


def test_models_drawn_anew_have_no_additions_in_common():
    assert random_image_model("tiny", base="t", seed=0).additions == {}
