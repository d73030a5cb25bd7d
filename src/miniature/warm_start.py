"""Weights of an earlier model as the beginning of a longer training, wherever the shapes allow."""

import logging
from pathlib import Path

import torch
from diffusers import ModelMixin
from transformers import PreTrainedModel

from src.common.counting import counted
from src.common.errors import UserError

log = logging.getLogger(__name__)


@torch.no_grad()
def warm_start(network: ModelMixin | PreTrainedModel, folder: Path) -> None:
    """Copy every tensor of the network saved in `folder` that has the name and the shape of one of `network`'s.

    A transformer block that the saved network does not have adds nothing at first: its last layer is set to zero. What
    else is missing or of another shape keeps its own initialisation.

    Raises:
        UserError: the folder holds no such network.
    """
    try:
        saved = type(network).from_pretrained(folder).state_dict()
    except (OSError, ValueError) as error:
        raise UserError(f"part.module.start_from: {folder} holds no weights of a {type(network).__name__}") from error
    own = network.state_dict()
    fits = {name for name, tensor in own.items() if name in saved and saved[name].shape == tensor.shape}
    for name, tensor in own.items():
        if name in fits:
            tensor.copy_(saved[name])
        elif name not in saved and ".proj_out." in name:
            tensor.zero_()
    log.info("%d of %s from %s", len(fits), counted(len(own), "tensor"), folder)
