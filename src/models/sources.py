"""Where the parts of an image model come from, and whether they belong together: known before any weight is read."""

from typing import Any

from transformers import CLIPTextConfig

from src.common.errors import UserError
from src.models.folders import check_pipeline, part_config, text_config, vae_class
from src.models.settings import ModelSettings
from src.models.shipped import shipped_configs
from src.models.structure import (
    Structure,
    check_base,
    check_controlnet,
    check_inputs,
    check_same_sizes,
    holds_vae,
    structure_of_config,
    structure_of_controlnet_file,
    structure_of_file,
)
from src.models.weights_file import is_weights_file, tensor_shapes


def check_sources(settings: ModelSettings) -> dict[str, Structure]:
    """Whether the parts are there and belong together, from configs and tensor names alone.

    Args:
        settings: of weights that are not drawn.

    Returns:
        The structures of `unet` and `controlnet`.

    Raises:
        UserError: one line on the first that is not or does not.
    """
    unet = check_base_sources(settings)
    if settings.controlnet is None and is_weights_file(settings.base):
        raise UserError(f"model.base={settings.base} is a single file, which holds no ControlNet: set model.controlnet")
    pose = _check_controlnet(settings.controlnet or settings.base, unet, option="model.controlnet")
    for number, net in enumerate(settings.controlnets):
        _check_controlnet(net.path, unet, option=beside_option(number))
    return {"unet": unet, "controlnet": pose}


def check_base_sources(settings: ModelSettings) -> Structure:
    """The same of UNet, VAE and text encoder alone; returns the UNet's structure."""
    shipped = shipped_configs(settings.configs)
    where = f"model.base={settings.base}"
    if is_weights_file(settings.base):
        shapes = tensor_shapes(settings.base, option="model.base")
        unet = structure_of_file(shapes, where)
        config = part_config(str(shipped), "unet", option="model.configs")
        text_width = CLIPTextConfig.from_pretrained(str(shipped / "text_encoder")).hidden_size
        base_vae = part_config(str(shipped), "vae", option="model.configs") if holds_vae(shapes) else None
    else:
        check_pipeline(settings.base)
        config = part_config(settings.base, "unet", option="model.base")
        unet = structure_of_config(config)
        text_width = text_config(settings.base).hidden_size
        base_vae = None if settings.vae else part_config(settings.base, "vae", option="model.base")
    check_base(unet, text_width, _latent_channels(settings, base_vae), where)
    check_same_sizes(unet, structure_of_config(config), where)
    check_inputs(config, f"the UNet of {where}")
    return unet


def beside_option(number: int) -> str:
    """What a ControlNet beside the pose one is called in messages."""
    return f"model.controlnets[{number}].path"


def _latent_channels(settings: ModelSettings, base_vae: dict[str, Any] | None) -> int:
    """Of the VAE that is going to be used; its class is checked on the way."""
    if settings.vae is not None and is_weights_file(settings.vae):
        shapes = tensor_shapes(settings.vae, option="model.vae")
        last = [shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")]
        if not last:
            raise UserError(f"model.vae={settings.vae} holds no VAE: expected one such as vae-ft-mse-840000-ema-pruned")
        return last[0][1]
    config = base_vae if settings.vae is None else part_config(settings.vae, "vae", option="model.vae")
    if config is None:
        raise UserError(
            f"model.base={settings.base} holds no VAE: set model.vae=stabilityai/sd-vae-ft-mse, or to a file or folder"
        )
    where = f"model.vae={settings.vae}" if settings.vae else f"the VAE of model.base={settings.base}"
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
        check_inputs(config, where)
        found = structure_of_config(config)
    check_controlnet(found, unet, where)
    return found
