"""Sizes of the other systems at full size, from configs alone: built on the meta device, without weights or memory."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel, UNetMotionModel
from torch import nn

from src.baselines.disco.fine_tune import trained_parameters
from src.baselines.disco.loading import DisCoConfigs, build_disco, read_configs
from src.baselines.magicanimate.loading import APPEARANCE, CONTROLNET, TEMPORAL
from src.baselines.magicanimate.motion import motion_config, motion_parameters
from src.baselines.magicanimate.reference_attention import AppearanceEncoder
from src.baselines.magicanimate.settings import MAX_POSITIONS
from src.baselines.weights import CONFIG, WEIGHTS, from_config, read_config

_ORIGIN = "the configs of an image model in diffusers' layout, model.configs=NAME"


def describe_magicanimate(configs: str | Path) -> dict[str, Any]:
    """Parameters and files of MagicAnimate on an image model.

    Args:
        configs: folder with `unet` and `controlnet`, as shipped for Stable Diffusion 1.5.
    """
    unet_config, controlnet_config = (
        read_config(Path(configs) / part, UNet2DConditionModel, origin=_ORIGIN) for part in ("unet", "controlnet")
    )
    with torch.device("meta"):
        unet = from_config(UNet2DConditionModel, unet_config)
        video_unet = UNetMotionModel(**motion_config(unet, max_positions=MAX_POSITIONS))
        controlnet = from_config(ControlNetModel, controlnet_config)
        encoder = AppearanceEncoder(from_config(UNet2DConditionModel, unet_config))
    motion = sum(p.numel() for p in motion_parameters(video_unet))
    return {
        "model": "magicanimate",
        "trainable_parameters": 0,
        "parameters": {
            "unet": _count(video_unet) - motion,
            "motion_modules": motion,
            "controlnet": _count(controlnet),
            "appearance_encoder": _count(encoder),
        },
        "files": [
            *(f"{part}/{name}" for part in (APPEARANCE, CONTROLNET) for name in (CONFIG, WEIGHTS)),
            f"{TEMPORAL}/{TEMPORAL}.ckpt",
        ],
    }


def describe_disco(configs: str | Path) -> dict[str, Any]:
    """Parameters and files of DisCo; what its human-specific fine-tune trains, by part.

    Args:
        configs: see `src.baselines.disco.loading`.
    """
    with torch.device("meta"):
        model = build_disco(read_configs(configs))
    pose, background = model.controlnet.nets
    trained = trained_parameters(model, "human_specific")
    parts = {"unet.": "cross_attention", "controlnet.": "background_controlnet", "refer_clip_proj.": "projection"}
    return {
        "model": "disco",
        "trainable_parameters": sum(p.numel() for p in trained.values()),
        "trainable": {
            part: sum(p.numel() for name, p in trained.items() if name.startswith(prefix))
            for prefix, part in parts.items()
        },
        "parameters": {
            "unet": _count(model.unet),
            "pose_controlnet": _count(pose),
            "background_controlnet": _count(background),
            "projection": _count(model.refer_clip_proj),
            "vae": _count(model.vae),
            "image_encoder": _count(model.clip_image_encoder),
        },
        "files": ["mp_rank_00_model_states.pt"],
    }


def disco_unet_parameters(configs: DisCoConfigs) -> int:
    """Parameters of the UNet that those configs describe."""
    with torch.device("meta"):
        return _count(from_config(UNet2DConditionModel, configs.unet))


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
