"""Operations, bytes and kernels of one guided evaluation, counted on tensors without content: no device, no weights.

Every kernel reads what it is given and writes what it returns once; views are none. Attention is one kernel, as it is
where it is fused. On a device each kernel takes at least the longer of its operations at the peak rate and its bytes at
the memory's rate: the sum over kernels is a bound that no schedule of the same kernels can undercut.
"""

import contextlib
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from src.common.system import GIB
from src.models.backbone import VideoBackbone
from src.models.build import cast_frozen
from src.models.settings import USED_AS, ModelSettings
from src.models.shipped import from_config, shipped_configs

# Operations that PyTorch does not call views and that move nothing all the same.
NO_KERNELS = (torch.ops.aten._unsafe_view, torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.new_empty)
LATENT_CELL = 8
TEXT_TOKENS = 77


@dataclass(frozen=True)
class Device:
    """Peak rates: dense 16-bit operations and bytes a second, by the maker's data sheet."""

    operations: float
    bytes: float


DEVICES = {"H100 SXM": Device(989e12, 3.35e12), "RTX 4090": Device(165e12, 1.01e12), "RTX 3060": Device(51e12, 0.36e12)}


def count_evaluation(
    settings: ModelSettings, *, resolution: int, precision: str, num_frames: int, num_prompts: int = 2
) -> dict[str, Any]:
    """Count one evaluation of UNet and ControlNet, prompts in one batch, frames not cut.

    Args:
        settings: shipped configs and dtype count.
        resolution: of a square frame, in pixels.
        precision: `trainer.precision`; mixed ones are counted as bfloat16.
        num_frames: F, the inserted reference included.

    Returns:
        `frames`, `tflop`, `gib` moved, `kernels`, and `seconds_at_least` by device.
    """
    folder, cast = shipped_configs(settings.configs), torch.bfloat16 if precision in USED_AS else None
    cells = resolution // LATENT_CELL
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        warnings.simplefilter("ignore")
        unet = from_config(UNet2DConditionModel, folder / "unet")
        controlnet = from_config(ControlNetModel, folder / "controlnet")
        backbone = VideoBackbone(unet, controlnet, group_norm=settings.group_norm).eval()
        cast_frozen(backbone, getattr(torch, settings.in_precision(precision).dtype))
        mixed = contextlib.nullcontext() if cast is None else torch.autocast("cpu", cast)
        with mixed:
            texts = [torch.empty(1, TEXT_TOKENS, unet.config["cross_attention_dim"])] * num_prompts
            channels = controlnet.conv_in.out_channels
            poses = torch.empty(1, num_frames, channels, cells, cells, dtype=cast or unet.conv_in.weight.dtype)
            latents = torch.empty(1, num_frames, unet.config["in_channels"], cells, cells)
            conditioning = backbone.condition(poses, *texts)
            with _Kernels() as kernels:
                backbone(latents, 1, conditioning)
    return {
        "frames": num_frames,
        "tflop": round(kernels.operations / 1e12, 6),
        "gib": round(kernels.bytes / GIB, 2),
        "kernels": len(kernels.costs),
        "seconds_at_least": {name: round(kernels.seconds(device), 6) for name, device in DEVICES.items()},
    }


class _Kernels(TorchDispatchMode):
    """What every operation within reads, writes and computes."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[tuple[float, float]] = []

    @property
    def operations(self) -> float:
        return sum(operations for operations, _ in self.costs)

    @property
    def bytes(self) -> float:
        return sum(moved for _, moved in self.costs)

    def seconds(self, device: Device) -> float:
        """The bound of the module's docstring."""
        return sum(max(operations / device.operations, moved / device.bytes) for operations, moved in self.costs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        written = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if func.is_view or func.overloadpacket in NO_KERNELS or not written:
            return out
        moved = sum(_bytes(x) for x in (*read, *written))
        self.costs.append((_operations(func, args, kwargs or {}, out), moved))
        return out


def _bytes(x: Tensor) -> int:
    """What there is of it in memory: what is broadcast is read once."""
    return x.element_size() * math.prod(n for n, stride in zip(x.shape, x.stride(), strict=True) if stride)


def _operations(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    if "scaled_dot_product" in str(func):
        query, key, value = args[:3]
        batch_heads, length = math.prod(query.shape[:-2]), query.shape[-2]
        return 2.0 * batch_heads * length * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    counted = flop_registry.get(func.overloadpacket)
    return float(counted(*args, **kwargs, out_val=out)) if counted is not None else 0.0
