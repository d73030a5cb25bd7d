"""Sizes of a model, from its configs alone."""

from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from src.models.backbone import VideoBackbone
from src.models.folders import part_config, vae_class
from src.models.image_model import resolution_multiple, vae_downsampling
from src.models.settings import ModelSettings
from src.models.shipped import from_config, shipped_configs


def describe_model(settings: ModelSettings, resolution: int) -> dict[str, Any]:
    """Parameter counts and shapes of a model, built on the meta device: needs no weights and no memory."""
    folder = settings.config_folder() or shipped_configs(settings.configs)
    with torch.device("meta"):
        vae = from_config(vae_class(part_config(str(folder), "vae", option="model.vae"), str(folder)), folder / "vae")
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(str(folder / "text_encoder")))
        unet = from_config(UNet2DConditionModel, folder / "unet")
        controlnet = from_config(ControlNetModel, folder / "controlnet")
        networks = {"vae": vae, "text_encoder": text_encoder, "unet": unet, "controlnet": controlnet}
        parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        beside = [from_config(ControlNetModel, folder / "controlnet") for _ in settings.controlnets]
        parameters |= {f"controlnets[{n}]": sum(p.numel() for p in net.parameters()) for n, net in enumerate(beside)}
        scales = [net.scale for net in settings.controlnets]
        backbone = VideoBackbone(unet, controlnet, beside=beside, scales=scales, group_norm=settings.group_norm)
    cells = resolution // vae_downsampling(vae)
    trainable = backbone.trainable_state()
    temporal = sum(p.numel() for name, p in trainable.items() if ".temporal." in name)
    return {
        "model": settings.name,
        "base": settings.base,
        "controlnets": [
            {"path": net.path, "condition": net.condition, "scale": net.scale} for net in settings.controlnets
        ],
        "trainable_parameters": backbone.num_trainable(),
        "trainable": {
            "temporal_attention": temporal,
            "key_frame_attention_output": backbone.num_trainable() - temporal,
        },
        "parameters": parameters,
        "adapter_bytes": 4 * backbone.num_trainable(),
        "resolution": resolution,
        "resolution_multiple": resolution_multiple(vae, unet),
        "latent_shape": [unet.config.in_channels, cells, cells],
        "text_tokens": text_encoder.config.max_position_embeddings,
    }
