"""DisCo's weights from the checkpoints in which they are published (section 4).

A checkpoint is complete. What describes its networks are the configs of the base model, in diffusers' layout:

    <configs>/unet/config.json                  Stable Diffusion 1's sizes
    <configs>/vae/config.json
    <configs>/image_encoder/config.json         CLIP's vision tower
    <configs>/scheduler/scheduler_config.json
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from src.baselines.disco.model import DisCo, background_controlnet
from src.baselines.disco.names import rename_checkpoint, weights_of
from src.baselines.disco.sampling import make_scheduler
from src.baselines.weights import from_config, load_strictly, read_config
from src.common.errors import UserError
from src.models.weights_file import read_tensors

log = logging.getLogger(__name__)
OPTION = "method.weights"
ORIGIN = (
    "mp_rank_00_model_states.pt of a fine-tuned DisCo (links in the README of github.com/Wangt-CN/DisCo), "
    f"{OPTION}=FILE"
)
CONFIGS_ORIGIN = (
    "the base model's configs, in the layout of lambdalabs/sd-image-variations-diffusers, method.configs=FOLDER"
)
POSE_EMBEDDING = (16, 32, 96, 256)


@dataclass(frozen=True)
class DisCoConfigs:
    """What describes the networks, each the arguments of its class."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    image_encoder: dict[str, Any]
    scheduler: dict[str, Any]


def read_configs(folder: str | Path) -> DisCoConfigs:
    """Read the four configs.

    Raises:
        UserError: one is missing.
    """
    folder = Path(folder)
    classes = {
        **{"unet": UNet2DConditionModel, "vae": AutoencoderKL},
        **{"image_encoder": CLIPVisionModelWithProjection, "scheduler": DDIMScheduler},
    }
    return DisCoConfigs(
        **{part: read_config(folder / part, cls, origin=CONFIGS_ORIGIN) for part, cls in classes.items()}
    )


def build_disco(configs: DisCoConfigs) -> DisCo:
    """The networks, without weights where the caller has set the meta device."""
    unet = from_config(UNet2DConditionModel, configs.unet)
    pose, background = (
        ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=POSE_EMBEDDING, load_weights_from_unet=False
        )
        for _ in range(2)
    )
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**configs.image_encoder))
    vae = from_config(AutoencoderKL, configs.vae)
    return DisCo(unet, pose, background_controlnet(background), encoder, vae)


def load_disco(checkpoint: str | Path, configs: str | Path) -> tuple[DisCo, DDIMScheduler]:
    """Build DisCo in float32 from a published checkpoint; and the scheduler that its base model names.

    The public code keeps CLIP in float32 and the rest in float16.

    Args:
        checkpoint: torch pickle of DeepSpeed or of the public trainer, or a safetensors conversion.
        configs: see the head of this file.

    Raises:
        UserError: a file is missing, of stage 1, or does not fit.
    """
    described = read_configs(configs)
    path = Path(checkpoint)
    if not path.is_file():
        raise UserError(f"no weights at {path}: expected {ORIGIN}")
    state = rename_checkpoint(weights_of(read_tensors(str(path), option=OPTION)))
    with torch.device("meta"):
        model = build_disco(described)
    load_strictly(model, state, what=str(path), dtype=torch.float32)
    # A table that no checkpoint holds, so that it stays behind on the meta device.
    embeddings = model.clip_image_encoder.vision_model.embeddings
    embeddings.register_buffer("position_ids", torch.arange(embeddings.num_positions)[None], persistent=False)
    return model, make_scheduler(described.scheduler)
