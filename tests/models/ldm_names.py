"""Stable Diffusion's original tensor names, written from a diffusers model: what single-file checkpoints hold."""

import torch
from diffusers import ControlNetModel
from torch import Tensor

from src.models.image_model import ImageModel

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def to_ldm(model: ImageModel) -> dict[str, Tensor]:
    """All weights but the ControlNet's under their original names."""
    unet = {f"model.diffusion_model.{n}": t for n, t in _unet(model.unet.state_dict(), model.unet.config).items()}
    vae = {f"first_stage_model.{n}": t for n, t in _vae(model.vae.state_dict(), model.vae.config).items()}
    text = {}
    for name, tensor in model.text_encoder.state_dict().items():
        text[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    return {name: tensor.clone().contiguous() for name, tensor in {**unet, **vae, **text}.items()}


def _take(state: dict, source: str, target: str, renamed: dict | None = None) -> dict[str, Tensor]:
    """Tensors below `source`, renamed to be below `target`, with inner names replaced."""
    taken = {}
    for name, tensor in state.items():
        if name.startswith(source + "."):
            inner = name.removeprefix(source + ".")
            for ours, theirs in (renamed or {}).items():
                if inner.startswith(ours + "."):
                    inner = theirs + inner.removeprefix(ours)
                    break
            taken[f"{target}.{inner}"] = tensor
    return taken


def to_ldm_controlnet(net: ControlNetModel, prefix: str = "control_model.") -> dict[str, Tensor]:
    """A ControlNet's weights under the names of `control_v11p_sd15_openpose.pth`."""
    state, config = net.state_dict(), net.config
    out = _down_path(state, config)
    hints = len(config.conditioning_embedding_out_channels)
    out |= _take(state, "controlnet_cond_embedding.conv_in", "input_hint_block.0")
    for i in range(2 * (hints - 1)):
        out |= _take(state, f"controlnet_cond_embedding.blocks.{i}", f"input_hint_block.{2 * (i + 1)}")
    out |= _take(state, "controlnet_cond_embedding.conv_out", f"input_hint_block.{2 * (2 * hints - 1)}")
    for i in range(len(net.controlnet_down_blocks)):
        out |= _take(state, f"controlnet_down_blocks.{i}", f"zero_convs.{i}.0")
    out |= _take(state, "controlnet_mid_block", "middle_block_out.0")
    return {f"{prefix}{name}": tensor.clone().contiguous() for name, tensor in out.items()}


def to_kohya_lora(names: list[str], rank: int, width: int, seed: int) -> dict[str, Tensor]:
    """Random LoRA weights under kohya's names, for square layers of `width` named as diffusers names them."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name in names:
        out[f"{name}.lora_down.weight"] = torch.randn(rank, width, generator=generator)
        out[f"{name}.lora_up.weight"] = torch.randn(width, rank, generator=generator)
        out[f"{name}.alpha"] = torch.tensor(float(rank) / 2)
    return out


def _down_path(state: dict, config) -> dict[str, Tensor]:
    names = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    names |= {"conv_in": "input_blocks.0.0"}
    out = {}
    for ours, theirs in names.items():
        out |= _take(state, ours, theirs)
    for i in range(2):
        out |= _take(state, f"mid_block.resnets.{i}", f"middle_block.{2 * i}", _RESNET)
    out |= _take(state, "mid_block.attentions.0", "middle_block.1")
    levels, layers = len(config.block_out_channels), config.layers_per_block
    for level in range(levels):
        for layer in range(layers):
            index = 1 + level * (layers + 1) + layer
            out |= _take(state, f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{index}.0", _RESNET)
            out |= _take(state, f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{index}.1")
        down = f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
        out |= _take(state, f"down_blocks.{level}.downsamplers.0.conv", down)
    return out


def _unet(state: dict, config) -> dict[str, Tensor]:
    out = _down_path(state, config)
    out |= _take(state, "conv_norm_out", "out.0") | _take(state, "conv_out", "out.2")
    levels, layers = len(config.block_out_channels), config.layers_per_block
    for level in range(levels):
        for layer in range(layers + 1):
            index = level * (layers + 1) + layer
            out |= _take(state, f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{index}.0", _RESNET)
            attention = _take(state, f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{index}.1")
            out |= attention
            if layer == layers:
                up = f"output_blocks.{index}.{2 if attention else 1}.conv"
                out |= _take(state, f"up_blocks.{level}.upsamplers.0.conv", up)
    return out


def _vae(state: dict, config) -> dict[str, Tensor]:
    shortcut = {"conv_shortcut": "nin_shortcut"}
    levels, layers = len(config.block_out_channels), config.layers_per_block
    out = _take(state, "quant_conv", "quant_conv") | _take(state, "post_quant_conv", "post_quant_conv")
    for side, blocks, extra in (("encoder", "down", 0), ("decoder", "up", 1)):
        names = {"conv_in": "conv_in", "conv_out": "conv_out", "conv_norm_out": "norm_out"}
        for ours, theirs in names.items():
            out |= _take(state, f"{side}.{ours}", f"{side}.{theirs}")
        for i in range(2):
            out |= _take(state, f"{side}.mid_block.resnets.{i}", f"{side}.mid.block_{i + 1}", shortcut)
        attention = _take(state, f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1", _VAE_ATTENTION)
        out |= {n: t[..., None, None] if t.ndim == 2 else t for n, t in attention.items()}
        for level in range(levels):
            theirs = level if side == "encoder" else levels - 1 - level
            for layer in range(layers + extra):
                source = f"{side}.{blocks}_blocks.{level}.resnets.{layer}"
                out |= _take(state, source, f"{side}.{blocks}.{theirs}.block.{layer}", shortcut)
            for kind in ("downsample", "upsample"):
                source = f"{side}.{blocks}_blocks.{level}.{kind}rs.0.conv"
                out |= _take(state, source, f"{side}.{blocks}.{theirs}.{kind}.conv")
    return out
