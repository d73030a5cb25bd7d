"""Settings of the image model and the backbone: the config group `model`; and what is built from them."""

import logging
from dataclasses import dataclass

import torch

from src.common.typed import check_choice
from src.models.backbone import GROUP_NORMS, VideoBackbone
from src.models.image_model import ImageModel
from src.models.loading import load_image_model

log = logging.getLogger(__name__)
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelSettings:
    """Which weights, and how they run.

    Attributes:
        name: what results are listed under.
        base: diffusers folder, hub id or single-file checkpoint.
        controlnet: likewise; null: the subfolder `controlnet` of base.
        configs: shipped configs that describe a single file, random weights, and `src.info`.
        random_seed: draw random weights instead of loading any; for tests and measurements.
        group_norm: statistics over all frames of a `clip`, as ControlVideo has them, or over each `frame`.
        conditioning_scale: factor on the ControlNet's residuals.
        dtype: of the frozen weights; the trained ones are always float32. Below it, trainer.precision must be mixed.
        gradient_checkpointing: less memory for a quarter more time in training.
        channels_last: memory format of the convolutions.
        compile: run the UNet and ControlNet through torch.compile.
    """

    name: str
    base: str
    controlnet: str | None = None
    configs: str = "sd15"
    random_seed: int | None = None
    group_norm: str = "clip"
    conditioning_scale: float = 1.0
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        check_choice("model.group_norm", self.group_norm, GROUP_NORMS)
        check_choice("model.dtype", self.dtype, DTYPES)


def model_warning(settings: ModelSettings, *, rendered: bool) -> str | None:
    """What a user should know before time is spent on this model, if anything.

    Args:
        rendered: the subject is a drawn person, not a filmed one.
    """
    if settings.random_seed is not None:
        return f"model={settings.name} has random weights: it shows that all runs, and films nothing"
    if settings.name == "mini" and not rendered:
        return "model=mini has seen drawn people alone: of a filmed one expect a coarse likeness; use model=sd15"
    return None


def build_models(settings: ModelSettings) -> tuple[ImageModel, VideoBackbone]:
    """Load the image model and make the video backbone of its UNet and ControlNet.

    Raises:
        UserError: the weights are not there or cannot be read.
    """
    image_model = load_image_model(
        settings.base, settings.controlnet, configs=settings.configs, seed=settings.random_seed
    )
    return image_model, build_backbone(image_model, settings)


def build_backbone(image_model: ImageModel, settings: ModelSettings) -> VideoBackbone:
    """The video backbone on the image model's UNet and ControlNet, as the settings ask."""
    backbone = VideoBackbone(
        image_model.unet,
        image_model.controlnet,
        group_norm=settings.group_norm,
        conditioning_scale=settings.conditioning_scale,
    )
    dtype = getattr(torch, settings.dtype)
    for parameter in backbone.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    for network in (backbone.unet, backbone.controlnet):
        if settings.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        if settings.compile:
            network.compile()
    log.info("trained parameters: %s", f"{backbone.num_trainable():,}")
    return backbone
