"""How much of a clip passes through a layer at once, and whether prompts do together: by the memory that is free.

Dimensions: F frames, C channels, h×w latent cells.
"""

import logging
from dataclasses import dataclass

import psutil
import torch
from diffusers import UNet2DConditionModel

from src.common.counting import counted
from src.common.system import GIB
from src.models.structure import layers_per_level

log = logging.getLogger(__name__)
# Past some MiB a CPU's allocator returns memory to the system each time, and its caches no longer help: measured, the
# feed-forward of 17 frames takes 62 ms whole and 25 ms in tiles of this size.
CPU_TILE_BYTES = 8 * 2**20
CPU_JOIN_BYTES = 32 * 2**20
# What of the free memory is planned with, and what of that goes to tiles.
USABLE, TILE_SHARE = 0.8, 0.25
# Full-size tensors that a residual block at the finest level holds at once, in units of that level's channels: its
# input, the skip feature, both joined, normalised, and as the convolution reorders them. Measured as 116 MiB for two
# prompts and 65 frames at 16×16 cells and 32 channels, which this counts as 90.
LIVE_TENSORS = 16


@dataclass(frozen=True)
class ChunkPlan:
    """How evaluations run; memory and time, never results.

    Attributes:
        frame_chunk: frames that pass through a layer at once; None: by `tile_elements`.
        tile_elements: numbers that a layer holds inside at once; None: no limit.
        join_prompts: evaluate the branches of guidance in one batch instead of one after the other.
    """

    frame_chunk: int | None
    tile_elements: int | None
    join_prompts: bool


def plan_chunks(
    unet: UNet2DConditionModel,
    *,
    num_frames: int,
    latent_size: tuple[int, int],
    num_prompts: int,
    frame_chunk: int | str | None,
    controls: int = 0,
) -> ChunkPlan:
    """Choose for a clip; said in the log.

    Args:
        unet: where it lies and in which dtype counts.
        num_frames: F.
        latent_size: (h, w).
        num_prompts: 2 with guidance.
        frame_chunk: `auto`: tiles sized by free memory; None: all at once; a number of frames: as given.
        controls: ControlNets that take part beside the pose one.
    """
    weight = unet.conv_in.weight
    # Where it computes: weights may wait elsewhere.
    device = unet.device
    free = free_bytes(device)
    needed = num_frames * frame_bytes(unet, latent_size, weight.element_size(), controls=controls)
    # In turn, prompts share the same work; one batch only saves calls, which a GPU and small sizes notice.
    most = CPU_JOIN_BYTES if device.type == "cpu" else USABLE * (1 - TILE_SHARE) * free
    join = num_prompts > 1 and num_prompts * needed < min(most, USABLE * (1 - TILE_SHARE) * free)
    if not isinstance(frame_chunk, str):
        return ChunkPlan(frame_chunk, None, join)
    tile_bytes = CPU_TILE_BYTES if device.type == "cpu" else USABLE * TILE_SHARE * free
    branches = f"prompts {'together' if join else 'in turn'}" if num_prompts > 1 else "one prompt"
    log.info(
        "%s: about %.2f GiB a prompt of %.1f GiB free, in tiles of %d MiB, %s",
        *(counted(num_frames, "frame"), needed / GIB, free / GIB, tile_bytes / 2**20, branches),
    )
    return ChunkPlan(None, max(1, int(tile_bytes) // weight.element_size()), join)


def free_bytes(device: torch.device) -> int:
    """Memory that a process can still take: of the GPU, its allocator's own reserve included, or of the machine."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return psutil.virtual_memory().available


def frame_bytes(
    unet: UNet2DConditionModel, latent_size: tuple[int, int], element_size: int, *, controls: int = 0
) -> int:
    """What one frame adds between layers at most: skip features, the ControlNet's residuals, the widest block."""
    height, width = latent_size
    channels = unet.config["block_out_channels"]
    cells = [height * width >> (2 * level) for level in range(len(channels))]
    # A skip feature after each residual block, and one after each halving; conv_in's counts as one.
    layers = layers_per_level(unet.config)
    skips = channels[0] * cells[0] + sum(count * c * n for count, c, n in zip(layers, channels, cells, strict=True))
    skips += sum(c * n for c, n in zip(channels[:-1], cells[1:], strict=True))
    widest = max(c * n for c, n in zip(channels, cells, strict=True))
    # Of several ControlNets the sum is held and the residuals that are being added to it.
    return element_size * ((2 + bool(controls)) * skips + LIVE_TENSORS * widest)
