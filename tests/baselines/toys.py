"""MagicAnimate and DisCo at toy widths with random weights: the real architecture, names and file layouts.

Widths differ from block to block, so that a block that reads another's does not go unseen.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from src.baselines.disco.loading import POSE_EMBEDDING
from src.baselines.disco.model import DisCo, background_controlnet
from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.motion import build_video_unet, motion_config
from src.baselines.magicanimate.reference_attention import AppearanceEncoder
from src.baselines.magicanimate.settings import NetworkSettings

UNET: dict[str, Any] = {
    **{"block_out_channels": (16, 32, 48, 64), "layers_per_block": 1, "cross_attention_dim": 32},
    **{"attention_head_dim": 2, "norm_num_groups": 8},
}
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    **{"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4},
}
CLIP: dict[str, Any] = {
    **{"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"image_size": 32, "patch_size": 8, "projection_dim": 32},
}
# Those of `model=tiny`.
TINY: dict[str, Any] = {**UNET, "block_out_channels": (32, 32, 64, 64)}
MAX_POSITIONS = 8


def _draw_zeros(controlnet: ControlNetModel) -> ControlNetModel:
    """A ControlNet starts with zero convolutions; drawn, they let the condition take part."""
    zeros = [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]
    for zero in zeros:
        nn.init.normal_(zero.weight, std=0.1)
    if hasattr(controlnet.controlnet_cond_embedding, "conv_out"):
        nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=10.0)
    return controlnet.eval()


def motion_state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Random motion modules for a UNet, under diffusers' names, with their position tables."""
    video_unet = UNetMotionModel(**motion_config(unet, max_positions=MAX_POSITIONS))
    state = {name: t for name, t in video_unet.state_dict().items() if ".motion_modules." in name}
    # As drawn, frames hardly attend to each other, and mistakes in time would hardly show.
    return {name: 4 * t if ".to_" in name else t for name, t in state.items()}


def magicanimate_parts(
    seed: int = 0, sizes: dict[str, Any] = UNET
) -> tuple[UNet2DConditionModel, dict[str, Tensor], AppearanceEncoder, Any]:
    """Image UNet, motion modules, appearance encoder, ControlNet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**sizes).eval()
        encoder = AppearanceEncoder(UNet2DConditionModel(**sizes))
        controlnet = _draw_zeros(ControlNetModel(**sizes, conditioning_embedding_out_channels=(8, 8, 16, 16)))
        return unet, motion_state(unet), encoder, controlnet


def toy_magicanimate(settings: NetworkSettings | None = None, *, seed: int = 0) -> MagicAnimate:
    unet, motion, encoder, controlnet = magicanimate_parts(seed)
    video_unet = build_video_unet(unet, {}, motion, what="toy", max_positions=MAX_POSITIONS)
    return MagicAnimate(video_unet, encoder, controlnet, settings=settings or NetworkSettings())


def public_motion_names(motion: dict[str, Tensor]) -> dict[str, Tensor]:
    """From diffusers' names to those of the published file, written down independently of `names.py`."""
    public = {}
    for name, tensor in motion.items():
        head, block, tail = name.partition(".transformer_blocks.0.")
        parts = head.split(".")
        stem = ".".join(parts[:4]) + ".temporal_transformer" + "".join(f".{part}" for part in parts[4:])
        if not block:
            public[stem] = tensor
            continue
        for ours, theirs in (
            *(("attn1", "attention_blocks.0"), ("attn2", "attention_blocks.1"), ("norm1", "norms.0")),
            *(("norm2", "norms.1"), ("norm3", "ff_norm"), ("ff", "ff")),
        ):
            if tail.startswith(f"{ours}."):
                public[f"{stem}{block}{theirs}{tail.removeprefix(ours)}"] = tensor
        if tail == "pos_embed.pe":
            for i in range(2):
                public[f"{stem}{block}attention_blocks.{i}.pos_encoder.pe"] = tensor
    return public


def write_magicanimate(
    folder: Path, *, temporal: dict[str, Tensor] | None = None, seed: int = 0, sizes: dict[str, Any] = UNET
) -> Any:
    """Write toy weights in the published layout; returns the image UNet, which is not in it.

    Args:
        temporal: content of the motion file; None: motion modules alone, as a training run would have saved them.
        sizes: of the UNets and the ControlNet.
    """
    unet, motion, encoder, controlnet = magicanimate_parts(seed, sizes)
    for name, network, cls in (
        ("appearance_encoder", encoder.unet, "AppearanceEncoderModel"),
        ("densepose_controlnet", controlnet, "ControlNetModel"),
    ):
        (folder / name).mkdir(parents=True)
        config = {**dict(network.config), "_class_name": cls}
        (folder / name / "config.json").write_text(json.dumps(config))
        save_file(dict(network.state_dict()), folder / name / "diffusion_pytorch_model.safetensors")
    if temporal is None:
        public = public_motion_names(motion)
        temporal = {f"module.unet.{name}": t for name, t in public.items()}
    (folder / "temporal_attention").mkdir()
    content = {"global_step": 7, "state_dict": temporal}
    torch.save(content, folder / "temporal_attention" / "temporal_attention.ckpt")
    return unet


def toy_disco(seed: int = 0) -> DisCo:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**UNET)
        pose, background = (
            ControlNetModel(**UNET, conditioning_embedding_out_channels=POSE_EMBEDDING) for _ in range(2)
        )
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP))
        vae = AutoencoderKL(**VAE)
        model = DisCo(unet, pose, background_controlnet(background), encoder, vae)
        for net in model.controlnet.nets:
            _draw_zeros(net)
        # As drawn, the tokens hardly differ, and pictures would hardly matter.
        nn.init.normal_(encoder.vision_model.embeddings.patch_embedding.weight, std=0.3)
        return model.eval().requires_grad_(False)


def public_disco_names(model: DisCo) -> dict[str, Tensor]:
    """The toy's weights as a checkpoint of the public code holds them: float16, the VAE's old names, one table more."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    public = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("vae.") and ".attentions." in name:
            for ours, theirs in old.items():
                name = name.replace(f".{ours}.", f".{theirs}.")
        public[name] = tensor.half()
    positions = model.clip_image_encoder.vision_model.embeddings.num_positions
    public["clip_image_encoder.vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
    return public


def write_disco_configs(folder: Path, model: DisCo, scheduler: dict[str, Any]) -> None:
    """The base model's configs in their layout."""
    configs = {
        "unet/config.json": dict(model.unet.config),
        "vae/config.json": dict(model.vae.config),
        "image_encoder/config.json": {**CLIP, "model_type": "clip_vision_model"},
        "scheduler/scheduler_config.json": {"_class_name": "PNDMScheduler", **scheduler},
    }
    for name, config in configs.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(config))
