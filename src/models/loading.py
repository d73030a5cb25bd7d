"""Weights from a diffusers folder, a hub id or one `.safetensors` file; random ones for tests and measurements."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    UNet2DConditionModel,
)
from safetensors import SafetensorError
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from src.common.errors import UserError
from src.models.image_model import ImageModel

log = logging.getLogger(__name__)
CONFIGS = Path(__file__).parent / "configs"
VAES = {cls.__name__: cls for cls in (AutoencoderKL, AutoencoderTiny, AutoencoderDC)}
SINGLE_FILE_SUFFIXES = (".safetensors", ".ckpt")


def load_image_model(
    base: str, controlnet: str | None = None, *, configs: str = "sd15", seed: int | None = None
) -> ImageModel:
    """Load an image model in float32, or build one with random weights.

    Args:
        base: a folder in diffusers' layout, a hub id, or a single-file checkpoint of Stable Diffusion 1.5.
        controlnet: likewise for the ControlNet; None: the subfolder `controlnet` of `base`.
        configs: name of the shipped configs that describe a single file, so that no network is needed to read it.
        seed: if given, `base` is only a name, and weights are drawn with this seed from the shipped configs.

    Raises:
        UserError: the weights are not there or cannot be read.
    """
    if seed is not None:
        return random_image_model(configs, base=base, seed=seed)
    controlnet_at = {"subfolder": "controlnet"} if controlnet is None else {}
    if _is_file(base):
        if controlnet is None:
            raise UserError(f"model.base={base} is a single file, which holds no ControlNet: set model.controlnet")
        parts = _single_file_parts(base, configs)
    else:
        with _clear_errors("model.base", base, "the folders vae, text_encoder, tokenizer, unet and scheduler"):
            parts = _folder_parts(base)
    with _clear_errors("model.controlnet", controlnet or base, "a ControlNet's config.json and weights"):
        if controlnet is not None and _is_file(controlnet):
            parts["controlnet"] = ControlNetModel.from_single_file(
                controlnet, config=str(shipped_configs(configs)), subfolder="controlnet", local_files_only=True
            )
        else:
            parts["controlnet"] = ControlNetModel.from_pretrained(controlnet or base, **controlnet_at)
    return ImageModel(base=base, **parts)


def random_image_model(configs: str, *, base: str, seed: int) -> ImageModel:
    """An image model of the shipped sizes with weights drawn from `seed`; the global generator is left as it was."""
    folder = shipped_configs(configs)
    text_config = CLIPTextConfig.from_pretrained(str(folder / "text_encoder"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        controlnet = from_config(ControlNetModel, folder / "controlnet")
        # A ControlNet starts with zero convolutions; drawn, they let the poses take part.
        for zero in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
            torch.nn.init.normal_(zero.weight, std=0.1)
        torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.1)
        return ImageModel(
            base=base,
            vae=from_config(vae_class(str(folder)), folder / "vae"),
            text_encoder=CLIPTextModel(text_config),
            tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")),
            unet=from_config(UNet2DConditionModel, folder / "unet"),
            controlnet=controlnet,
            scheduler=DDIMScheduler.from_pretrained(str(folder / "scheduler")),
        )


def shipped_configs(name: str) -> Path:
    """Folder of the configs that are shipped under `name`, in diffusers' layout.

    Raises:
        UserError: there are none.
    """
    if not (CONFIGS / name).is_dir():
        known = ", ".join(sorted(p.name for p in CONFIGS.iterdir() if p.is_dir()))
        raise UserError(f"model.configs={name} is unknown: choose one of {known}")
    return CONFIGS / name


def from_config(cls: type, folder: Path) -> Any:
    """A diffusers model of the class, initialised as its config says."""
    return cls.from_config(cls.load_config(folder))


def vae_class(base: str, *, subfolder: str | None = "vae") -> type:
    """The class of the VAE in a subfolder of a folder or hub id, or in the folder itself."""
    name = AutoencoderKL.load_config(base, subfolder=subfolder)["_class_name"]
    if name not in VAES:
        raise UserError(f"{base}/{subfolder or ''} is a {name}; supported are {', '.join(VAES)}")
    return VAES[name]


def _folder_parts(base: str) -> dict[str, Any]:
    def load(cls: type, part: str) -> Any:
        return cls.from_pretrained(base, subfolder=part)

    return {
        "vae": load(vae_class(base), "vae"),
        # transformers keeps the precision of the file; half precision is a choice of the run, not of the file.
        "text_encoder": load(CLIPTextModel, "text_encoder").float(),
        "tokenizer": load(CLIPTokenizer, "tokenizer"),
        "unet": load(UNet2DConditionModel, "unet"),
        "scheduler": load(DDIMScheduler, "scheduler"),
    }


def _single_file_parts(path: str, configs: str) -> dict[str, Any]:
    from diffusers import StableDiffusionPipeline  # imports many models: only where it is needed

    with _clear_errors("model.base", path, "a Stable Diffusion 1.5 checkpoint"):
        pipeline = StableDiffusionPipeline.from_single_file(
            path,
            config=str(shipped_configs(configs)),
            local_files_only=True,
            safety_checker=None,
            torch_dtype=torch.float32,
        )
    parts = {name: getattr(pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    return {**parts, "scheduler": DDIMScheduler.from_config(pipeline.scheduler.config)}


def _is_file(name: str) -> bool:
    return Path(name).suffix in SINGLE_FILE_SUFFIXES


@contextlib.contextmanager
def _clear_errors(option: str, name: str, expected: str) -> Iterator[None]:
    """Turn the many errors of a failed load into one line that says which weights, where from, and which option."""
    if _is_file(name) and not Path(name).is_file():
        raise UserError(f"{option}={name}: there is no such file; give {expected}")
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{option}={name} could not be loaded: expected a local folder, a single .safetensors file or a hub id "
            f"with {expected}. Download it where there is a network (huggingface-cli download {name}) and set "
            f"{option}=FOLDER, or use model=mini, which needs no download. The library says: {reason}"
        ) from error
