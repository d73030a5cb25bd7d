"""Names of the public motion file and diffusers' own; and what of that file goes where (sections 1.5 and 2)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from src.common.errors import UserError

_PUBLIC_TO_OURS = (
    (r"(\.motion_modules\.\d+)\.temporal_transformer\.", r"\1."),
    (r"\.attention_blocks\.0\.pos_encoder\.pe$", ".pos_embed.pe"),
    (r"\.attention_blocks\.0\.", ".attn1."),
    (r"\.attention_blocks\.1\.", ".attn2."),
    (r"\.norms\.0\.", ".norm1."),
    (r"\.norms\.1\.", ".norm2."),
    (r"\.ff_norm\.", ".norm3."),
)
_SECOND_TABLE = ".attention_blocks.1.pos_encoder.pe"
MOTION = "motion_modules"


@dataclass(frozen=True)
class TemporalFile:
    """What `temporal_attention.ckpt` holds.

    Attributes:
        motion: the motion modules under diffusers' names.
        spatial: weights that replace the image UNet's, under diffusers' names; empty where the file has motion
            modules alone.
        public: all of these under the public names.
        ignored: keys that the public loader drops.
    """

    motion: dict[str, Tensor]
    spatial: dict[str, Tensor]
    public: dict[str, Tensor]
    ignored: list[str]


def rename_motion(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Motion modules from the public names to those of diffusers' UNetMotionModel.

    The second of a module's two position tables goes: diffusers adds one table twice.

    Raises:
        UserError: the two tables of a module differ.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(_SECOND_TABLE):
            first = state.get(name.replace(".attention_blocks.1.", ".attention_blocks.0."))
            if first is not None and not torch.equal(first, tensor):
                raise UserError(
                    f"{name} differs from the module's first position table, where MagicAnimate's are equal"
                )
            continue
        for pattern, replacement in _PUBLIC_TO_OURS:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def sort_temporal_file(state: Mapping[str, Tensor], spatial_names: set[str]) -> TemporalFile:
    """Apply the public loader's rule to the tensors of the motion file.

    Everything up to the last `module.` of a key goes. If every key is then one of the network, all are taken, and those
    outside the motion modules replace the image model's; otherwise only the motion modules are, without `unet.`.

    Args:
        state: the file's tensors, out of its `state_dict` if it has one.
        spatial_names: names of the image UNet's tensors.

    Raises:
        UserError: it holds no motion modules.
    """
    stripped = {name.rsplit("module.", 1)[-1]: tensor for name, tensor in state.items()}
    whole = all(name in spatial_names or _is_motion(name) for name in stripped)
    motion = {name.replace("unet.", ""): v for name, v in stripped.items() if MOTION in name}
    if not motion:
        raise UserError(
            "the motion file holds no motion modules (keys that contain motion_modules): expected "
            "temporal_attention.ckpt of zcxu-eric/MagicAnimate"
        )
    spatial = {name: v for name, v in stripped.items() if name in spatial_names} if whole else {}
    public = {**spatial, **motion}
    ignored = [name for name in stripped if name.replace("unet.", "") not in public]
    return TemporalFile(rename_motion(motion), spatial, public, ignored)


def _is_motion(name: str) -> bool:
    return re.match(r"(down|up)_blocks\.\d+\.motion_modules\.\d+\.temporal_transformer\.", name) is not None


def max_positions(motion: Mapping[str, Tensor], default: int) -> int:
    """Length of the position tables in a renamed state; the default where it has none."""
    lengths = {tensor.shape[1] for name, tensor in motion.items() if name.endswith(".pos_embed.pe")}
    return lengths.pop() if lengths else default
