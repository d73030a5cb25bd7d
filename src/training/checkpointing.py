"""Whether a training step needs gradient checkpointing: by what it would keep for the way back, and the free memory.

Dimensions: N training frames, F frames, C channels, h×w latent cells.
"""

import contextlib
import logging

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from src.common.system import GIB
from src.models.backbone import VideoBackbone
from src.models.chunking import USABLE, free_bytes
from src.models.conditioning import Conditioning
from src.models.settings import GradientCheckpointing

log = logging.getLogger(__name__)
# Kept bytes are a constant and so many a frame: two short steps tell both.
FEW, MORE = 2, 3
# AdamW's two moments and the gradient, float32.
BYTES_PER_TRAINED = 12


def set_checkpointing(
    backbone: VideoBackbone,
    choice: GradientCheckpointing,
    conditioning: Conditioning,
    latents_NChw: Tensor,
    *,
    batch_frames: int,
) -> bool:
    """Switch gradient checkpointing on or off; results are the same. Returns which.

    Args:
        choice: `auto`: on where a step without it would not fit the free memory; said in the log.
        conditioning: poses and prompt of the clip, on the backbone's device.
        latents_NChw: of the clip, there as well.
        batch_frames: frames of a step.
    """
    networks = (backbone.unet, backbone.controlnet)
    for network in networks:
        network.disable_gradient_checkpointing()
    use = choice if choice != "auto" else _needed(backbone, conditioning, latents_NChw, batch_frames)
    for network in networks if use else ():
        network.enable_gradient_checkpointing()
    return use


def kept_bytes(backbone: VideoBackbone, conditioning: Conditioning, latents_NChw: Tensor, num_frames: int) -> int:
    """What an evaluation of so many frames keeps for its way back, weights aside, by running it."""
    weights = {parameter.data_ptr() for parameter in backbone.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    same = torch.zeros(num_frames, dtype=torch.long, device=latents_NChw.device)
    paused = contextlib.nullcontext() if backbone.compiled is None else backbone.compiled.paused()
    # Compiled, a step keeps no more; each number of frames would be compiled for.
    with paused, torch.enable_grad(), saved_tensors_hooks(count, lambda tensor: tensor):
        # What it returns holds the graph, and so every storage that is counted, until all are.
        noise = backbone(latents_NChw[same][None], 1, conditioning.frames(same))
    del noise
    return sum(kept.values())


def _needed(backbone: VideoBackbone, conditioning: Conditioning, latents_NChw: Tensor, batch_frames: int) -> bool:
    device, num_frames = latents_NChw.device, min(batch_frames, len(latents_NChw))
    free = free_bytes(device) - BYTES_PER_TRAINED * backbone.num_trainable()
    try:
        few, more = (kept_bytes(backbone, conditioning, latents_NChw, frames) for frames in (FEW, MORE))
    except torch.OutOfMemoryError:
        log.info("gradient checkpointing: on, %d frames do not fit without", MORE)
        return True
    needed = few + (num_frames - FEW) * (more - few)
    use = needed > USABLE * free
    log.info(
        "gradient checkpointing: %s, without it a step keeps %.2f GiB of %.1f GiB free",
        *("on" if use else "off", needed / GIB, free / GIB),
    )
    return use
