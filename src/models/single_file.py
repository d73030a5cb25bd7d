"""Single-file checkpoints: Stable Diffusion and ControlNets in their original layout, VAEs in either."""

from pathlib import Path
from typing import Any, TypeVar, cast

from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders import FromOriginalModelMixin
from torch import Tensor, nn

from src.common.errors import UserError
from src.models.folders import clear_errors
from src.models.weights_file import read_tensors

Network = TypeVar("Network", bound=nn.Module)
SingleFile = TypeVar("SingleFile", bound=FromOriginalModelMixin)


def load_base_file(path: str, configs: Path, *, vae: nn.Module | None) -> dict[str, Any]:
    """VAE, text encoder, tokenizer and UNet of a single-file checkpoint, in float32.

    Args:
        path: `.safetensors`, `.ckpt` or `.pth`.
        configs: folder that describes it, so that no network is needed.
        vae: to take in place of the file's own.
    """
    from diffusers import StableDiffusionPipeline  # imports many models: only where it is needed

    where = f"model.base={path}"
    tensors = read_tensors(path, option="model.base")
    with clear_errors("model.base", path, "a Stable Diffusion 1.x checkpoint"):
        unet = _from_tensors(UNet2DConditionModel, tensors, configs, "unet")
        vae = vae or _from_tensors(AutoencoderKL, tensors, configs, "vae")
    parts = {"unet": _whole(unet, where, "UNet"), "vae": _whole(vae, where, "VAE")}
    del tensors
    with clear_errors("model.base", path, "a Stable Diffusion 1.x checkpoint with its text encoder"):
        pipeline = StableDiffusionPipeline.from_single_file(
            path, safety_checker=None, **parts, config=str(configs), local_files_only=True
        )
    encoder = _whole(pipeline.text_encoder, where, "text encoder")
    return {**parts, "text_encoder": encoder, "tokenizer": pipeline.tokenizer}


def load_controlnet_file(path: str, configs: Path, *, option: str) -> ControlNetModel:
    """A ControlNet from one file, in float32."""
    tensors = read_tensors(path, option=option)
    with clear_errors(option, path, "a ControlNet"):
        net = _from_tensors(ControlNetModel, tensors, configs, "controlnet")
    return _whole(net, f"{option}={path}", "ControlNet")


def load_vae_file(path: str, configs: Path) -> AutoencoderKL:
    """A VAE from one file, in float32."""
    tensors = read_tensors(path, option="model.vae")
    with clear_errors("model.vae", path, "a VAE of Stable Diffusion 1.x"):
        vae = _from_tensors(AutoencoderKL, tensors, configs, "vae")
    return _whole(vae, f"model.vae={path}", "VAE")


def _from_tensors(cls: type[SingleFile], tensors: dict[str, Tensor], configs: Path, part: str) -> SingleFile:
    source = cast(str, tensors)  # which the library takes in place of a path, and does not say
    return cls.from_single_file(source, config=str(configs), subfolder=part, local_files_only=True)


def _whole(network: Network, where: str, part: str) -> Network:
    """The network in float32; tensors that the file did not hold were left without memory, and are refused."""
    if any(tensor.is_meta for tensor in network.parameters()):
        raise UserError(f"{where} lacks tensors of its {part}: download it again")
    return network.float()
