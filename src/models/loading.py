"""The image model from what people have: a diffusers folder, a hub id or single files; random weights for tests.

What does not fit is refused from configs and tensor shapes, before any weight is read.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from src.common.errors import UserError
from src.models.additions import add_to
from src.models.folders import clear_errors, load_part, load_text, part_config, vae_class
from src.models.image_model import ImageModel, TextToImage
from src.models.scheduler import ddim_scheduler, read_scheduler_config
from src.models.settings import ModelSettings, PredictionType
from src.models.shipped import from_config, shipped_configs
from src.models.single_file import load_base_file, load_controlnet_file, load_vae_file
from src.models.sources import beside_option, check_base_sources, check_sources
from src.models.weights_file import is_weights_file, tensor_shapes


def load_image_model(settings: ModelSettings) -> ImageModel:
    """Load an image model in float32 or, with `random_seed`, draw one's weights from the shipped configs.

    Raises:
        UserError: the weights are not there, cannot be read, or do not belong together.
    """
    if settings.random_seed is not None:
        model, first = _random(settings), settings.random_seed + 1
        model.beside = [random_controlnet(settings.configs, first + n) for n in range(len(settings.controlnets))]
    else:
        check_sources(settings)
        model = ImageModel(base=settings.base, **_base_parts(settings), **_controlnets(settings))
    _complete(model, settings)
    if settings.controlnets:
        model.additions["controlnets"] = [
            {"file": Path(net.path).name, "condition": net.condition, "scale": net.scale}
            for net in settings.controlnets
        ]
    # Weights that are compiled for stay where they are.
    model.offload = False if settings.compile else settings.offload
    return model


def load_text_to_image(settings: ModelSettings) -> TextToImage:
    """The same without ControlNets, which need not be there, for a method that has its own.

    Raises:
        UserError: as of `load_image_model`.
    """
    if settings.random_seed is not None:
        model: TextToImage = _random(settings)
    else:
        check_base_sources(settings)
        model = TextToImage(base=settings.base, **_base_parts(settings))
    _complete(model, settings)
    return model


def _complete(model: TextToImage, settings: ModelSettings) -> None:
    """Put on the loaded parts what the settings ask for, and keep what that was."""
    check_clip_skip(settings.clip_skip, model.text_encoder.config.num_hidden_layers)
    model.clip_skip = settings.clip_skip
    model.additions = {"clip_skip": settings.clip_skip, "prediction_type": model.scheduler.config["prediction_type"]}
    add_to(model, loras=settings.loras, embeddings=settings.embeddings)


def _random(settings: ModelSettings) -> ImageModel:
    assert settings.random_seed is not None, "weights are drawn"
    return random_image_model(
        settings.configs,
        base=settings.base,
        seed=settings.random_seed,
        prediction_type=settings.prediction_type,
        zero_terminal_snr=settings.zero_terminal_snr,
    )


def _base_parts(settings: ModelSettings) -> dict[str, Any]:
    """All parts but the ControlNets, which were checked."""
    shipped, variant = shipped_configs(settings.configs), settings.variant
    if is_weights_file(settings.base):
        scheduler_config = read_scheduler_config(str(shipped)) | said_by_file(settings.base)
    else:
        with clear_errors("model.base", settings.base, "the folder scheduler with its config"):
            scheduler_config = read_scheduler_config(settings.base)
    scheduler = ddim_scheduler(
        scheduler_config,
        where=f"model.base={settings.base}",
        prediction_type=settings.prediction_type,
        zero_terminal_snr=settings.zero_terminal_snr,
    )
    vae = None if settings.vae is None else _load_vae(settings.vae, shipped, option="model.vae", variant=None)
    if is_weights_file(settings.base):
        parts = load_base_file(settings.base, shipped, vae=vae)
    else:
        text_encoder, tokenizer = load_text(settings.base, variant)
        parts = {
            "vae": vae or _load_vae(settings.base, shipped, option="model.base", variant=variant),
            "text_encoder": text_encoder,
            "tokenizer": tokenizer,
            "unet": load_part(UNet2DConditionModel, settings.base, "unet", option="model.base", variant=variant),
        }
    return {**parts, "scheduler": scheduler}


def _controlnets(settings: ModelSettings) -> dict[str, Any]:
    """The pose ControlNet and those beside it, which were checked."""
    shipped, variant = shipped_configs(settings.configs), settings.variant
    pose = _load_controlnet(settings.controlnet or settings.base, shipped, option="model.controlnet", variant=variant)
    beside = [
        _load_controlnet(net.path, shipped, option=beside_option(number), variant=variant)
        for number, net in enumerate(settings.controlnets)
    ]
    return {"controlnet": pose, "beside": beside}


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
