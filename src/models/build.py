"""From settings to the image model and the video backbone."""

import logging
from typing import cast

import torch
from torch import nn

from src.models.backbone import VideoBackbone
from src.models.compiled import CompiledForwards
from src.models.image_model import ImageModel
from src.models.loading import load_image_model
from src.models.settings import ModelSettings

log = logging.getLogger(__name__)


def build_models(settings: ModelSettings) -> tuple[ImageModel, VideoBackbone]:
    """Load the image model and make the video backbone of its UNet and ControlNet.

    Raises:
        UserError: the weights are not there or cannot be read.
    """
    image_model = load_image_model(settings)
    return image_model, build_backbone(image_model, settings)


def build_backbone(image_model: ImageModel, settings: ModelSettings) -> VideoBackbone:
    """The video backbone on the image model's UNet and ControlNet, as the settings ask."""
    backbone = VideoBackbone(
        image_model.unet,
        image_model.controlnet,
        beside=image_model.beside,
        scales=[net.scale for net in settings.controlnets],
        group_norm=settings.group_norm,
        conditioning_scale=settings.conditioning_scale,
        compiled=CompiledForwards.build(sampling=settings.compile, training=settings.compile_training),
    )
    # Of no precision `auto` is float32, which goes with all.
    cast_frozen(backbone, getattr(torch, settings.in_precision("32-true").dtype))
    for network in (backbone.unet, backbone.controlnet, *image_model.beside):
        if settings.channels_last:
            cast(nn.Module, network).to(memory_format=torch.channels_last)
    log.info("trained parameters: %s", f"{backbone.num_trainable():,}")
    return backbone


def cast_frozen(backbone: VideoBackbone, dtype: torch.dtype) -> None:
    """Give the frozen weights a dtype, but for norms, which are next to nothing in memory and where rounding shows."""
    for module in backbone.modules():
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad and parameter.dtype != dtype:
                setattr(module, name, nn.Parameter(parameter.to(dtype), requires_grad=False))
