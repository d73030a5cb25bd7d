"""Single-file checkpoints: Stable Diffusion and ControlNets in their original layout, VAEs in either."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel
from torch import nn

from src.common.errors import UserError
from src.models.folders import clear_errors
from src.models.weights_file import read_tensors


def load_base_file(path: str, configs: Path, *, vae: nn.Module | None) -> dict[str, Any]:
    """VAE, text encoder, tokenizer and UNet of a single-file checkpoint, in float32.

    Args:
        path: `.safetensors`, `.ckpt` or `.pth`.
        configs: folder that describes it, so that no network is needed.
        vae: to take in place of the file's own.
    """
    from diffusers import StableDiffusionPipeline  # imports many models: only where it is needed

    with clear_errors("model.base", path, "a Stable Diffusion 1.x checkpoint"):
        pipeline = StableDiffusionPipeline.from_single_file(
            path,
            config=str(configs),
            local_files_only=True,
            safety_checker=None,
            torch_dtype=torch.float32,
            **({} if vae is None else {"vae": vae}),
        )
        parts = {name: getattr(pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    for name in ("vae", "text_encoder", "unet"):
        _require_whole(parts[name], f"model.base={path}", name)
    return parts


def load_controlnet_file(path: str, configs: Path, *, option: str) -> ControlNetModel:
    """A ControlNet from one file, in float32."""
    tensors = read_tensors(path, option=option)
    with clear_errors(option, path, "a ControlNet"):
        net = ControlNetModel.from_single_file(
            tensors, config=str(configs), subfolder="controlnet", local_files_only=True, torch_dtype=torch.float32
        )
    _require_whole(net, f"{option}={path}", "ControlNet")
    return net


def load_vae_file(path: str, configs: Path) -> AutoencoderKL:
    """A VAE from one file, in float32."""
    tensors = read_tensors(path, option="model.vae")
    with clear_errors("model.vae", path, "a VAE of Stable Diffusion 1.x"):
        vae = AutoencoderKL.from_single_file(
            tensors, config=str(configs), subfolder="vae", local_files_only=True, torch_dtype=torch.float32
        )
    _require_whole(vae, f"model.vae={path}", "VAE")
    return vae


def _require_whole(network: nn.Module, where: str, part: str) -> None:
    """Tensors that the file did not hold were left without memory."""
    missing = [name for name, tensor in network.named_parameters() if tensor.is_meta]
    if missing:
        raise UserError(f"{where}: its {part} lacks {len(missing)} tensors (first: {missing[0]}): download it again")
