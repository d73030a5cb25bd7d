"""`model.offload`: for sampling on a small GPU weights wait in the machine's memory and visit it block by block.

The library's group offloading moves them, in hooks on forward passes. What is read outside of these the backbone brings
together by itself: keys and values of the text are made where their weights lie, the embedding of poses is moved whole.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from diffusers.hooks import HookRegistry, apply_group_offloading
from torch import nn

from src.common.errors import UserError
from src.common.system import GIB
from src.models.chunking import free_bytes
from src.models.image_model import ImageModel
from src.models.settings import Offload

log = logging.getLogger(__name__)
# `auto`: of the free memory the weights may take so much; the rest is for frames.
MOST_SHARE = 0.5
# What the library calls its hook.
HOOK = "group_offloading"


@contextlib.contextmanager
def offloaded(image_model: ImageModel, device: torch.device) -> Iterator[bool]:
    """Within the block, weights wait in the machine's memory where `model.offload` asks for it; yields whether they do.

    Args:
        image_model: on the CPU; all its networks are meant.
        device: where it computes; nothing moves where memory is the machine's.
    """
    if not _wanted(image_model, device):
        yield False
        return
    denoisers = [image_model.unet, image_model.controlnet, *image_model.beside]
    at_once = most_resident(denoisers) / GIB
    log.info("model.offload: weights wait in the machine's memory, at most %.2f GiB are on the GPU at once", at_once)
    vae = cast(nn.Module, image_model.vae)
    try:
        for network in denoisers:
            apply_group_offloading(network, device, offload_type="block_level", num_blocks_per_group=1)
        # Called by `encode` and `decode`, which only hooks on its layers see. The text encoder works where it waits.
        apply_group_offloading(vae, device, offload_type="leaf_level")
        yield True
    finally:
        for network in (*denoisers, vae):
            HookRegistry.check_if_exists_or_initialize(network).remove_hook(HOOK)
            network.to("cpu")


def check_offload(offload: Offload, device: torch.device) -> None:
    """Refuse what would do nothing.

    Raises:
        UserError: offloading is asked for, and there is no memory but the machine's.
    """
    if offload is True and device.type != "cuda":
        raise UserError(
            f"model.offload=true keeps memory of a GPU's own free, and this runs on {device.type}: set it to auto"
        )


def most_resident(networks: Iterable[nn.Module]) -> int:
    """Bytes of the weights that are on the device at once, of networks that run one after the other."""
    return max(_most_resident(network) for network in networks)


def _most_resident(network: nn.Module) -> int:
    lists = [child for child in network.children() if isinstance(child, nn.ModuleList)]
    blocks = [num_bytes(block) for blocks in lists for block in blocks]
    return num_bytes(network) - sum(blocks) + max(blocks, default=0)


def num_bytes(network: nn.Module) -> int:
    """Of all its weights."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _wanted(image_model: ImageModel, device: torch.device) -> bool:
    if image_model.offload is False or device.type != "cuda":
        return False
    networks = (*image_model.networks.values(), *image_model.beside)
    weights = sum(num_bytes(cast(nn.Module, network)) for network in networks)
    return image_model.offload is True or weights > MOST_SHARE * free_bytes(device)
