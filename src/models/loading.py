"""The image model from what people have: a diffusers folder, a hub id or single files; random weights for tests.

What does not fit is refused from configs and tensor shapes, before any weight is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from src.common.errors import UserError
from src.models.additions import add_to
from src.models.folders import check_pipeline, clear_errors, load_part, load_text, part_config, text_config, vae_class
from src.models.image_model import ImageModel
from src.models.scheduler import ddim_scheduler, read_scheduler_config
from src.models.settings import ControlNetSettings, LoraSettings, PredictionType
from src.models.shipped import from_config, shipped_configs
from src.models.single_file import load_base_file, load_controlnet_file, load_vae_file
from src.models.structure import (
    Structure,
    check_base,
    check_controlnet,
    check_same_sizes,
    holds_vae,
    structure_of_config,
    structure_of_controlnet_file,
    structure_of_file,
)
from src.models.weights_file import is_weights_file, tensor_shapes


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the parts of a model come from.

    Attributes:
        base: a folder in diffusers' layout, a hub id, or a single-file checkpoint of Stable Diffusion 1.x.
        controlnet: likewise for the ControlNet; None: the subfolder `controlnet` of `base`.
        controlnets: likewise for those beside it.
        vae: likewise for the VAE; None: the base's own.
        configs: name of the shipped configs that describe a single file, so that no network is needed to read it.
        variant: of the weights' file names in folders, such as `fp16`; None: plain, or the one that is there alone.
    """

    base: str
    controlnet: str | None = None
    controlnets: tuple[str, ...] = ()
    vae: str | None = None
    configs: str = "sd15"
    variant: str | None = None


def load_image_model(
    base: str,
    controlnet: str | None = None,
    *,
    controlnets: Sequence[ControlNetSettings] = (),
    vae: str | None = None,
    configs: str = "sd15",
    variant: str | None = None,
    seed: int | None = None,
    prediction_type: PredictionType | None = None,
    zero_terminal_snr: bool | None = None,
    loras: Sequence[LoraSettings] = (),
    embeddings: Sequence[str] = (),
    clip_skip: int = 0,
) -> ImageModel:
    """Load an image model in float32, or build one with random weights.

    Args:
        base, controlnet, vae, configs, variant: as of `Sources`.
        controlnets: others beside the pose one.
        seed: if given, `base` is only a name, and weights are drawn with this seed from the shipped configs.
        prediction_type, zero_terminal_snr: what the scheduler's file says otherwise, or a single file cannot say.
        loras: fused into UNet and text encoder, in this order.
        embeddings: files of textual inversions, each a word of the prompt.
        clip_skip: last layers of the text encoder that are left out.

    Raises:
        UserError: the weights are not there, cannot be read, or do not belong together.
    """
    overrides = {"prediction_type": prediction_type, "zero_terminal_snr": zero_terminal_snr}
    if seed is not None:
        model = random_image_model(configs, base=base, seed=seed, **overrides)
        model.beside = [random_controlnet(configs, seed + 1 + number) for number in range(len(controlnets))]
    else:
        paths = tuple(net.path for net in controlnets)
        sources = Sources(
            base=base, controlnet=controlnet, controlnets=paths, vae=vae, configs=configs, variant=variant
        )
        check_sources(sources)
        model = _load(sources, overrides)
    check_clip_skip(clip_skip, model.text_encoder.config.num_hidden_layers)
    model.clip_skip = clip_skip
    model.additions = {"clip_skip": clip_skip, "prediction_type": model.scheduler.config["prediction_type"]}
    if controlnets:
        model.additions["controlnets"] = [
            {"file": Path(net.path).name, "condition": net.condition, "scale": net.scale} for net in controlnets
        ]
    add_to(model, loras=loras, embeddings=embeddings)
    return model


def check_sources(sources: Sources) -> dict[str, Structure]:
    """Whether the parts are there and belong together, from configs and tensor names alone.

    Returns:
        The structures of `unet` and `controlnet`.

    Raises:
        UserError: one line on the first that is not or does not.
    """
    shipped = shipped_configs(sources.configs)
    where = f"model.base={sources.base}"
    if is_weights_file(sources.base):
        shapes = tensor_shapes(sources.base, option="model.base")
        unet = structure_of_file(shapes, where)
        text_width = CLIPTextConfig.from_pretrained(str(shipped / "text_encoder")).hidden_size
        base_vae = part_config(str(shipped), "vae", option="model.configs") if holds_vae(shapes) else None
    else:
        check_pipeline(sources.base)
        unet = structure_of_config(part_config(sources.base, "unet", option="model.base"))
        text_width = text_config(sources.base).hidden_size
        base_vae = None if sources.vae else part_config(sources.base, "vae", option="model.base")
    check_base(unet, text_width, _latent_channels(sources, base_vae), where)
    if is_weights_file(sources.base):
        shipped_unet = structure_of_config(part_config(str(shipped), "unet", option="model.configs"))
        check_same_sizes(unet, shipped_unet, where)
    if sources.controlnet is None and is_weights_file(sources.base):
        raise UserError(f"model.base={sources.base} is a single file, which holds no ControlNet: set model.controlnet")
    pose = _check_controlnet(sources.controlnet or sources.base, unet, option="model.controlnet")
    for number, name in enumerate(sources.controlnets):
        _check_controlnet(name, unet, option=beside_option(number))
    return {"unet": unet, "controlnet": pose}


def beside_option(number: int) -> str:
    """What a ControlNet beside the pose one is called in messages."""
    return f"model.controlnets[{number}].path"


def _latent_channels(sources: Sources, base_vae: dict[str, Any] | None) -> int:
    """Of the VAE that is going to be used; its class is checked on the way."""
    if sources.vae is not None and is_weights_file(sources.vae):
        shapes = tensor_shapes(sources.vae, option="model.vae")
        last = [shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")]
        if not last:
            raise UserError(f"model.vae={sources.vae} holds no VAE: expected one such as vae-ft-mse-840000-ema-pruned")
        return last[0][1]
    config = base_vae if sources.vae is None else part_config(sources.vae, "vae", option="model.vae")
    if config is None:
        raise UserError(
            f"model.base={sources.base} holds no VAE: set model.vae=stabilityai/sd-vae-ft-mse, or to a file or folder"
        )
    where = f"model.vae={sources.vae}" if sources.vae else f"the VAE of model.base={sources.base}"
    vae_class(config, where)
    return config.get("latent_channels", 4)


def _check_controlnet(name: str, unet: Structure, *, option: str) -> Structure:
    where = f"{option}={name}"
    if is_weights_file(name):
        found = structure_of_controlnet_file(tensor_shapes(name, option=option), where)
    else:
        config = part_config(name, "controlnet", option=option)
        if config.get("_class_name", "ControlNetModel") != "ControlNetModel":
            raise UserError(f"{where} is a {config['_class_name']}: expected one for Stable Diffusion 1.x")
        found = structure_of_config(config)
    check_controlnet(found, unet, where)
    return found


def _load(sources: Sources, overrides: dict[str, Any]) -> ImageModel:
    """The parts, which were checked, as one model."""
    shipped, variant = shipped_configs(sources.configs), sources.variant
    if is_weights_file(sources.base):
        scheduler_config = read_scheduler_config(str(shipped)) | said_by_file(sources.base)
    else:
        with clear_errors("model.base", sources.base, "the folder scheduler with its config"):
            scheduler_config = read_scheduler_config(sources.base)
    scheduler = ddim_scheduler(scheduler_config, where=f"model.base={sources.base}", **overrides)
    vae = None if sources.vae is None else _load_vae(sources.vae, shipped, option="model.vae", variant=None)
    if is_weights_file(sources.base):
        parts = load_base_file(sources.base, shipped, vae=vae)
    else:
        text_encoder, tokenizer = load_text(sources.base, variant)
        parts = {
            "vae": vae or _load_vae(sources.base, shipped, option="model.base", variant=variant),
            "text_encoder": text_encoder,
            "tokenizer": tokenizer,
            "unet": load_part(UNet2DConditionModel, sources.base, "unet", option="model.base", variant=variant),
        }
    pose = _load_controlnet(sources.controlnet or sources.base, shipped, option="model.controlnet", variant=variant)
    beside = [
        _load_controlnet(name, shipped, option=beside_option(number), variant=variant)
        for number, name in enumerate(sources.controlnets)
    ]
    return ImageModel(base=sources.base, controlnet=pose, beside=beside, scheduler=scheduler, **parts)


def _load_controlnet(name: str, shipped: Path, *, option: str, variant: str | None) -> ControlNetModel:
    if is_weights_file(name):
        return load_controlnet_file(name, shipped, option=option)
    return load_part(ControlNetModel, name, "controlnet", option=option, variant=variant)


def said_by_file(path: str) -> dict[str, Any]:
    """What empty tensors in a single file tell of its training: `v_pred` and `ztsnr`, as trainers write them."""
    names = tensor_shapes(path, option="model.base")
    said = {"prediction_type": "v_prediction"} if "v_pred" in names else {}
    return said | ({"rescale_betas_zero_snr": True} if "ztsnr" in names else {})


def _load_vae(name: str, shipped: Path, *, option: str, variant: str | None) -> AutoencoderKL:
    if is_weights_file(name):
        return load_vae_file(name, shipped)
    cls = vae_class(part_config(name, "vae", option=option), f"{option}={name}")
    return load_part(cls, name, "vae", option=option, variant=variant)


def check_clip_skip(clip_skip: int, num_layers: int) -> None:
    """Refuse to leave out as many layers as the text encoder has."""
    if not 0 <= clip_skip < num_layers:
        raise UserError(f"model.clip_skip={clip_skip} is not in 0 to {num_layers - 1}, the text encoder's layers")


def random_image_model(
    configs: str,
    *,
    base: str,
    seed: int,
    prediction_type: PredictionType | None = None,
    zero_terminal_snr: bool | None = None,
) -> ImageModel:
    """An image model of the shipped sizes with weights drawn from `seed`; the global generator is left as it was."""
    folder = shipped_configs(configs)
    text_config = CLIPTextConfig.from_pretrained(str(folder / "text_encoder"))
    scheduler = ddim_scheduler(
        read_scheduler_config(str(folder)),
        where=f"model.configs={configs}",
        prediction_type=prediction_type,
        zero_terminal_snr=zero_terminal_snr,
    )
    vae = vae_class(part_config(str(folder), "vae", option="model.configs"), f"model.configs={configs}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        controlnet = _drawn_controlnet(folder)
        return ImageModel(
            base=base,
            vae=from_config(vae, folder / "vae"),
            text_encoder=CLIPTextModel(text_config),
            tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")),
            unet=from_config(UNet2DConditionModel, folder / "unet"),
            controlnet=controlnet,
            scheduler=scheduler,
        )


def random_controlnet(configs: str, seed: int) -> ControlNetModel:
    """A ControlNet of the shipped sizes with weights drawn from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _drawn_controlnet(shipped_configs(configs)).eval().requires_grad_(False)


def _drawn_controlnet(folder: Path) -> ControlNetModel:
    controlnet = from_config(ControlNetModel, folder / "controlnet")
    # A ControlNet starts with zero convolutions; drawn, they let the poses take part.
    for zero in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(zero.weight, std=0.1)
    torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.1)
    return controlnet
