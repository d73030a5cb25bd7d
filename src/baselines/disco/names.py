"""Names in DisCo's checkpoints and diffusers' own (section 4)."""

import re
from collections.abc import Mapping

from torch import Tensor

from src.common.errors import UserError

_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_POSITIONS = "clip_image_encoder.vision_model.embeddings.position_ids"
WEIGHTS_UNDER = ("module", "models", "model")
PARTS = ("unet", "vae", "controlnet", "clip_image_encoder", "refer_clip_proj")


def weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a file's tensors those of the networks, which lie under `module` (DeepSpeed), `models` or `model`, or bare.

    Raises:
        UserError: there are none.
    """
    for prefix in (*(f"{key}." for key in WEIGHTS_UNDER), ""):
        found = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        if any(name.startswith("unet.") for name in found):
            return found
    raise UserError(
        f"the checkpoint holds no weights of DisCo: expected a mapping under {', '.join(WEIGHTS_UNDER)} with names "
        "that start with unet., as mp_rank_00_model_states.pt has it"
    )


def rename_checkpoint(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From the public names to those of `src.baselines.disco.model.DisCo`.

    Raises:
        UserError: the checkpoint is of stage 1 and has a single ControlNet.
    """
    if any(name.startswith("controlnet.") and not name.startswith("controlnet.nets.") for name in state):
        raise UserError(
            "the checkpoint is of DisCo's attribute pre-training, with one ControlNet and no pose: give one of the "
            "fine-tuned checkpoints"
        )
    return {_renamed(name): tensor for name, tensor in state.items() if name != _POSITIONS}


def _renamed(name: str) -> str:
    if not name.startswith("vae."):
        return name
    return re.sub(
        r"(\.attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda match: f"{match[1]}.{_VAE_ATTENTION[match[2]]}.",
        name,
    )
