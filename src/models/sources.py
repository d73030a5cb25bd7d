"""Where the parts of an image model come from, and whether they belong together: known before any weight is read."""

from dataclasses import dataclass
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


def sources_of(settings: ModelSettings) -> Sources:
    """Where the parts come from."""
    return Sources(
        base=settings.base,
        controlnet=settings.controlnet,
        controlnets=tuple(net.path for net in settings.controlnets),
        vae=settings.vae,
        configs=settings.configs,
        variant=settings.variant,
    )


def check_sources(sources: Sources) -> dict[str, Structure]:
    """Whether the parts are there and belong together, from configs and tensor names alone.

    Returns:
        The structures of `unet` and `controlnet`.

    Raises:
        UserError: one line on the first that is not or does not.
    """
    unet = check_base_sources(sources)
    if sources.controlnet is None and is_weights_file(sources.base):
        raise UserError(f"model.base={sources.base} is a single file, which holds no ControlNet: set model.controlnet")
    pose = _check_controlnet(sources.controlnet or sources.base, unet, option="model.controlnet")
    for number, name in enumerate(sources.controlnets):
        _check_controlnet(name, unet, option=beside_option(number))
    return {"unet": unet, "controlnet": pose}


def check_base_sources(sources: Sources) -> Structure:
    """The same of UNet, VAE and text encoder alone; returns the UNet's structure."""
    shipped = shipped_configs(sources.configs)
    where = f"model.base={sources.base}"
    if is_weights_file(sources.base):
        shapes = tensor_shapes(sources.base, option="model.base")
        unet = structure_of_file(shapes, where)
        config = part_config(str(shipped), "unet", option="model.configs")
        text_width = CLIPTextConfig.from_pretrained(str(shipped / "text_encoder")).hidden_size
        base_vae = part_config(str(shipped), "vae", option="model.configs") if holds_vae(shapes) else None
    else:
        check_pipeline(sources.base)
        config = part_config(sources.base, "unet", option="model.base")
        unet = structure_of_config(config)
        text_width = text_config(sources.base).hidden_size
        base_vae = None if sources.vae else part_config(sources.base, "vae", option="model.base")
    check_base(unet, text_width, _latent_channels(sources, base_vae), where)
    check_same_sizes(unet, structure_of_config(config), where)
    check_inputs(config, f"the UNet of {where}")
    return unet


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
        check_inputs(config, where)
        found = structure_of_config(config)
    check_controlnet(found, unet, where)
    return found
