import json
import logging
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.common.errors import UserError
from src.models.chunking import frame_bytes
from src.models.folders import download_command
from src.models.image_model import ImageModel
from src.models.loading import random_image_model
from src.models.settings import LoraSettings
from src.models.structure import text_width_of
from tests.models.ldm_names import to_ldm, to_ldm_controlnet
from tests.models.loaded import loaded_model


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
    loaded = loaded_model(str(save_folder(tiny, tmp_path)))
    assert_same_weights(tiny, loaded, "vae", "text_encoder", "unet", "controlnet")
    assert torch.equal(loaded.encode_prompt("a person"), tiny.encode_prompt("a person"))


def test_configs_that_say_a_size_for_each_level(tiny, tmp_path):
    """As diffusers takes them, and as some distilled models are saved."""
    folder = save_folder(tiny, tmp_path / "base")
    edit_config(folder, "unet", layers_per_block=[1] * 4, cross_attention_dim=[32] * 4)
    loaded = loaded_model(str(folder))
    assert text_width_of(loaded.unet.config) == text_width_of(tiny.unet.config) == 32
    numbers = [frame_bytes(model.unet, (8, 8), 4) for model in (loaded, tiny)]
    assert numbers[0] == numbers[1]


def test_the_controlnet_may_lie_elsewhere(tiny, tmp_path):
    other = random_image_model("tiny", base="tiny", seed=7)
    folder = save_folder(tiny, tmp_path / "base")
    other.controlnet.save_pretrained(tmp_path / "pose")
    loaded = loaded_model(str(folder), str(tmp_path / "pose"))
    assert_same_weights(other, loaded, "controlnet")
    assert_same_weights(tiny, loaded, "unet")


def test_a_single_file_in_the_original_layout(tmp_path):
    """Stable Diffusion's own names, at toy size; read with shipped configs and no network."""
    model = random_image_model("tiny", base="tiny", seed=3)
    save_file(to_ldm(model), tmp_path / "model.safetensors")
    model.controlnet.save_pretrained(tmp_path / "controlnet")
    loaded = loaded_model(str(tmp_path / "model.safetensors"), str(tmp_path / "controlnet"), configs="tiny")
    assert_same_weights(model, loaded, "unet", "vae", "text_encoder")
    assert loaded.scheduler.config.steps_offset == 1


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> tuple[ImageModel, dict[str, torch.Tensor]]:
    """A toy model and its tensors under Stable Diffusion's original names."""
    model = random_image_model("tiny", base="tiny", seed=3)
    return model, to_ldm(model)


def write(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    """The file that the suffix asks for; checkpoints as Lightning writes them, ControlNets as their authors did."""
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "global_step": 3} if path.suffix == ".ckpt" else tensors, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pth"])
@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_controlnets_in_one_file_by_the_names_of_their_authors(suffix, prefix, single, tmp_path):
    model, tensors = single
    base = write(tmp_path / f"model{suffix}", tensors)
    net = write(tmp_path / f"control_v11p_sd15_openpose{suffix}", to_ldm_controlnet(model.controlnet, prefix))
    loaded = loaded_model(base, net, configs="tiny")
    assert_same_weights(model, loaded, "unet", "vae", "text_encoder", "controlnet")


def test_a_controlnet_in_one_file_by_the_names_of_diffusers(single, tmp_path):
    model, tensors = single
    net = write(tmp_path / "diffusion_pytorch_model.safetensors", dict(model.controlnet.state_dict()))
    loaded = loaded_model(write(tmp_path / "m.safetensors", tensors), net, configs="tiny")
    assert_same_weights(model, loaded, "controlnet")


def test_half_precision_files_become_float32(single, tmp_path):
    model, tensors = single
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    net = write(tmp_path / "c.pth", {n: t.half() for n, t in to_ldm_controlnet(model.controlnet).items()})
    loaded = loaded_model(write(tmp_path / "m.safetensors", halved), net, configs="tiny")
    assert {p.dtype for network in loaded.networks.values() for p in network.parameters()} == {torch.float32}


def test_variants_of_a_folder(tiny, tmp_path):
    """`fp16` is found by itself where it is alone, and asked for where it is not; two others have to be chosen."""
    folder = save_folder(tiny, tmp_path)
    for part in ("unet", "vae", "text_encoder", "controlnet"):
        [plain] = (folder / part).glob("*.safetensors")
        plain.rename(plain.with_suffix(".fp16.safetensors"))
    assert_same_weights(tiny, loaded_model(str(folder)), "unet", "vae", "text_encoder", "controlnet")
    assert_same_weights(tiny, loaded_model(str(folder), variant="fp16"), "unet", "text_encoder")
    other = random_image_model("tiny", base="tiny", seed=7)
    other.unet.save_pretrained(folder / "unet")
    assert_same_weights(other, loaded_model(str(folder)), "unet")
    assert_same_weights(tiny, loaded_model(str(folder), variant="fp16"), "unet", "vae")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(
        folder / "unet/diffusion_pytorch_model.non_ema.safetensors"
    )
    with pytest.raises(UserError, match=r"unet holds several variants: set model.variant to fp16 or non_ema"):
        loaded_model(str(folder))


@pytest.mark.parametrize("kind", ["folder", "inside", "original names", "safetensors"])
def test_a_vae_of_its_own(kind, single, tiny, tmp_path):
    """model.vae: for single files without one, and in place of the base's."""
    model, tensors = single
    if kind in ("folder", "inside"):
        model.vae.save_pretrained(tmp_path / ("v" if kind == "folder" else "v/vae"))
        vae = str(tmp_path / "v")
    else:
        own = {
            n.removeprefix("first_stage_model."): t for n, t in tensors.items() if n.startswith("first_stage_model.")
        }
        extra = {"loss.discriminator.main.0.weight": torch.zeros(3)}
        vae = write(tmp_path / ("vae-ft-mse.ckpt" if kind == "original names" else "vae.safetensors"), own | extra)
    without = {name: t for name, t in tensors.items() if not name.startswith("first_stage_model.")}
    base = write(tmp_path / "pruned.safetensors", without)
    net = write(tmp_path / "c.pth", to_ldm_controlnet(model.controlnet))
    with pytest.raises(UserError, match=r"pruned.safetensors holds no VAE: set model.vae="):
        loaded_model(base, net, configs="tiny")
    assert_same_weights(model, loaded_model(base, net, vae=vae, configs="tiny"), "vae", "unet")
    folder = save_folder(tiny, tmp_path / "base")
    assert_same_weights(model, loaded_model(str(folder), vae=vae, configs="tiny"), "vae")


def edit_config(folder: Path, part: str, **values) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


REFUSED_FOLDERS = {
    "inpainting": ("unet", {"in_channels": 9}, r"an inpainting model \(9 input channels\), expected the 4"),
    "editing": ("unet", {"in_channels": 8}, r"an instruction-editing model \(8 input channels\)"),
    "sd2": (
        "unet",
        {"cross_attention_dim": 1024},
        r"is Stable Diffusion 2 \(text width 1024\), expected text width 32",
    ),
    "sdxl": ("unet", {"addition_embed_type": "text_time"}, r"is Stable Diffusion XL \(text width 32\)"),
    "unclip": ("unet", {"class_embed_type": "projection"}, r"UNet of model.base=.* takes an image .*class_embed_type"),
    "lcm": ("unet", {"time_cond_proj_dim": 256}, r"takes its guidance, .*\(time_cond_proj_dim=256\): give one"),
    "kandinsky": ("unet", {"encoder_hid_dim": 16}, r"takes another text encoder's embedding \(encoder_hid_dim=16\)"),
    "no self-attention": ("unet", {"only_cross_attention": [True, True, True, False]}, "blocks without self-attention"),
    "no middle": ("unet", {"mid_block_type": None}, r"UNet of model.base=.* has no middle block"),
    "classes": ("controlnet", {"num_class_embeds": 9}, r"model.controlnet=.* takes a class beside the text"),
    "six channels": ("controlnet", {"conditioning_channels": 6}, r"model.controlnet=.* takes images of 6 channels"),
    "controlnet": ("controlnet", {"cross_attention_dim": 1024}, r"is a ControlNet for Stable Diffusion 2 .* the base"),
    "union": ("controlnet", {"_class_name": "ControlNetUnionModel"}, r"is a ControlNetUnionModel: expected"),
    "smaller": ("controlnet", {"block_out_channels": [32, 64]}, r"3 blocks from 32 channels; the base model is"),
    "vae": ("vae", {"_class_name": "AutoencoderKLWan"}, r"is a AutoencoderKLWan: supported are AutoencoderKL"),
    "latents": ("vae", {"latent_channels": 16}, r"\(4 input channels\), expected the 16 of the VAE's latents"),
}


@pytest.mark.parametrize("case", REFUSED_FOLDERS)
def test_folders_that_do_not_fit_are_refused_before_a_weight_is_read(case, tiny, tmp_path, monkeypatch):
    folder = save_folder(tiny, tmp_path)
    part, values, message = REFUSED_FOLDERS[case]
    edit_config(folder, part, **values)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(UserError, match=message) as error:
        loaded_model(str(folder))
    assert "\n" not in str(error.value)


UNET = "model.diffusion_model."
REFUSED_FILES = {
    "inpainting": ({f"{UNET}input_blocks.0.0.weight": (32, 9, 3, 3)}, r"an inpainting model \(9 input channels\)"),
    "sd2": (
        {f"{UNET}input_blocks.{i}.1.transformer_blocks.0.attn2.to_k.weight": (32, 1024) for i in (1, 3, 5)},
        r"is Stable Diffusion 2 \(text width 1024\)",
    ),
    "sdxl": ({f"{UNET}label_emb.0.0.weight": (4, 4)}, r"is Stable Diffusion XL"),
    "lcm": (
        {f"{UNET}time_embed.cond_proj.weight": (32, 256)},
        r"the UNet of model.base=.* takes its guidance, .*\(time_cond_proj_dim=256\): give one",
    ),
    "distilled": ({f"{UNET}input_blocks.9.0.x": (1,)}, r"8 blocks from 32 channels, expected 7 from 32"),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_single_files_that_do_not_fit_are_refused_by_their_header(case, single, tmp_path, monkeypatch):
    _, tensors = single
    replaced, message = REFUSED_FILES[case]
    base = write(tmp_path / "m.safetensors", tensors | {name: torch.zeros(shape) for name, shape in replaced.items()})
    monkeypatch.setattr("src.models.loading._base_parts", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(UserError, match=message):
        loaded_model(base, "c.pth", configs="tiny")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lora_unet_down_blocks_0_x.lora_down.weight"], r"model.base=.* is a LoRA \(model.loras takes it\)"),
        (["control_model.time_embed.0.weight"], r"is a ControlNet \(model.controlnet takes it\)"),
        (["encoder.conv_in.weight"], r"is a VAE alone \(model.vae takes it\)"),
        (["down_blocks.0.resnets.0.conv1.weight"], r"is a UNet alone in diffusers' layout"),
        (["double_blocks.0.img_attn.qkv.weight"], r"is a transformer such as Flux"),
        (["something.else"], r"of an unknown kind \(its first tensors: something.else\)"),
    ],
)
def test_other_files_given_as_base_are_called_what_they_are(names, message, tmp_path):
    base = write(tmp_path / "m.safetensors", {name: torch.zeros(1) for name in names})
    with pytest.raises(UserError, match=message):
        loaded_model(base, "c.pth", configs="tiny")


@pytest.mark.parametrize("change", ["another family", "difference", "the base"])
def test_controlnet_files_of_another_kind_are_refused(change, single, tmp_path):
    model, tensors = single
    base = write(tmp_path / "m.safetensors", tensors)
    net = to_ldm_controlnet(model.controlnet)
    name = "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    assert name in net
    given, message = {
        "another family": (
            {n: torch.zeros(32, 1024) if "attn2.to_k" in n else t for n, t in net.items()},
            r"is a ControlNet for Stable Diffusion 2 \(text width 1024\).*the base model is",
        ),
        "difference": (net | {"difference": torch.zeros(0)}, r"holds the difference to a ControlNet"),
        "the base": (tensors, r"expected a ControlNet, such as control_v11p_sd15_openpose.pth"),
    }[change]
    with pytest.raises(UserError, match=message):
        loaded_model(base, write(tmp_path / "c.pth", given), configs="tiny")


@pytest.mark.parametrize("part", ["unet", "text_encoder", "single", "controlnet"])
def test_weights_with_a_tensor_missing_are_refused(part, single, tiny, tmp_path):
    """Neither library minds: one leaves what is missing random, the other without memory."""
    model, tensors = single
    if part == "single":
        lacking = {n: t for n, t in tensors.items() if n != f"{UNET}out.2.weight"}
        base, net = write(tmp_path / "m.safetensors", lacking), to_ldm_controlnet(model.controlnet)
        arguments = (base, write(tmp_path / "c.pth", net))
    else:
        folder = save_folder(tiny, tmp_path)
        [path] = (folder / part).glob("*.safetensors")
        state = load_file(path)
        state.pop(sorted(state)[0])
        save_file(state, path, {"format": "pt"})
        arguments = (str(folder), None)
    with pytest.raises(UserError, match=r"lacks? .*tensors? .*: download it again"):
        loaded_model(*arguments, configs="tiny")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("bomb"),))


@pytest.mark.parametrize("option", ["base", "controlnet", "vae", "lora", "embedding"])
def test_pickled_code_is_never_run(option, single, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, tensors = single
    torch.save({"state_dict": Bomb()}, tmp_path / "evil.ckpt")
    base = write(tmp_path / "m.safetensors", tensors)
    net = write(tmp_path / "c.pth", to_ldm_controlnet(model.controlnet))
    arguments = {"base": base, "controlnet": net, "configs": "tiny"}
    evil = {"lora": {"loras": [LoraSettings(path="evil.ckpt")]}, "embedding": {"embeddings": ["evil.ckpt"]}}
    with pytest.raises(UserError, match=r"evil.ckpt.*holds more than weights.*convert it to safetensors"):
        loaded_model(**arguments | evil.get(option, {option: "evil.ckpt"}))
    assert not (tmp_path / "bomb").exists()


def test_pickled_weights_of_a_folder_are_not_larger_than_they_look(tiny, tmp_path):
    """Those that are loaded: by their name, or because an index names them."""
    folder = save_folder(tiny, tmp_path)
    for name in ("optimizer.bin", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"):
        with zipfile.ZipFile(folder / "vae" / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model/data.pkl", bytes(1000))
    assert_same_weights(tiny, loaded_model(str(folder)), "vae")
    refused = r"model.base=.*vae/{} holds 'model/data.pkl' compressed.*: convert it to safetensors"
    index = folder / "vae/diffusion_pytorch_model.safetensors.index.json"
    index.write_text('{"metadata": {}, "weight_map": {"conv_in.weight": "optimizer.bin"}}')
    with pytest.raises(UserError, match=refused.format("optimizer.bin")):
        loaded_model(str(folder))
    for other in ("[]", '{"weight_map": 3}'):
        index.write_text(other)
        with pytest.raises(UserError, match=r"model.base=.*index.json is no index of weights"):
            loaded_model(str(folder))
    index.unlink()
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=refused.format("diffusion_pytorch_model.bin")):
        loaded_model(str(folder))


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
        ("nowhere/at-all", None, r"could not be loaded.*\(hf download nowhere/at-all\) and set model.base=FOLDER"),
        ("./nowhere/at-all", None, r"model.base=./nowhere/at-all: there is no such folder or file: expected "),
        ("gone.safetensors", "x", r"model.base=gone.safetensors: there is no such file"),
    ],
)
def test_weights_that_are_not_there(base, controlnet, message, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=message):
        loaded_model(base, controlnet)
    assert ("fetched from its hub" in caplog.text) == (base == "nowhere/at-all")


def test_what_is_there_and_holds_no_weights_is_not_said_to_be_missing(tiny, tmp_path):
    (tmp_path / "weights.dat").write_bytes(b"something")
    with pytest.raises(UserError, match=r"weights.dat could not be loaded: expected a local folder, a single file"):
        loaded_model(str(tmp_path / "weights.dat"), None)
    # As a clone without git-lfs leaves it.
    pointer = save_folder(tiny, tmp_path / "clone") / "unet/diffusion_pytorch_model.bin"
    pointer.with_suffix(".safetensors").unlink()
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438375973\n")
    with pytest.raises(UserError, match=r"unet/diffusion_pytorch_model.bin is not readable as weights.*git lfs pull"):
        loaded_model(str(tmp_path / "clone"), None)


def test_the_command_that_fetches_weights_is_one_that_the_hubs_client_has():
    program = download_command("a/b").split()[0]
    assert any(script.name == program for script in entry_points(group="console_scripts"))


def test_a_damaged_file_is_said_to_be_one(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(
        UserError, match="model.base=.*x.safetensors is no readable safetensors file.*download it again"
    ):
        loaded_model(str(tmp_path / "x.safetensors"), "y", configs="tiny")


def test_unknown_configs_are_named():
    with pytest.raises(UserError, match="model.configs=big is unknown: choose one of sd15, tiny"):
        random_image_model("big", base="x", seed=0)


def test_long_prompts_are_cut_and_the_log_says_where(tiny, caplog):
    short = "word " * 5
    with caplog.at_level(logging.WARNING):
        tiny.encode_prompt(short)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tiny.encode_prompt("x" * 75 + " the very end")
    [said] = [record.message for record in caplog.records if record.name.startswith("src.")]
    assert "longer than 77 tokens" in said and "very end" in said, "and it says so once"


def test_a_tokenizer_that_knows_no_end_cuts_at_the_text_encoders(tiny):
    """A folder with its vocabulary and without `tokenizer_config.json`, which holds the length."""
    expected = tiny.encode_prompt("a person")
    tiny.tokenizer.model_max_length = int(1e30)
    assert torch.equal(tiny.encode_prompt("a person"), expected)


def test_latents_round_trip_shapes_and_resolution(tiny, people_clip):
    frames, _ = people_clip
    latents = tiny.encode_frames(frames[:3], chunk=2)
    assert latents.shape == (3, 4, 8, 8) and tiny.decode_latents(latents).shape == frames[:3].shape
    torch.testing.assert_close(latents, tiny.encode_frames(frames[:3]), rtol=0, atol=1e-5)
    tiny.check_resolution(128)
    with pytest.raises(UserError, match="data.resolution=100 does not suit this model: use a multiple of 64"):
        tiny.check_resolution(100)


def test_an_unknown_number_of_text_layers_is_refused():
    with pytest.raises(UserError, match="model.clip_skip=2 is not in 0 to 1, the text encoder's layers"):
        loaded_model("tiny", configs="tiny", random_seed=0, clip_skip=2)
