"""Hooks on the layers of unmodified diffusers models: clip-wide group norm, frame chunks, reuse of constant outputs.

Dimensions: B clips, F frames, C channels, H×W latent cells, G norm groups.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.attention import FeedForward
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from src.models.layout import ClipLayout


class ClipGroupNorm(ModelHook):
    """Group statistics over all frames of a clip, as in the public ControlVideo model, whose norms see (B, C, F, H, W).

    With one frame the layer's own forward runs, so the result is the image model's to the bit.
    """

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout

    def new_forward(self, module: nn.GroupNorm, x: Tensor) -> Tensor:
        """Normalise x (B·F, C, H, W); statistics are taken in float32 over the whole clip, also when in chunks."""
        num_frames = self.layout.num_frames
        if num_frames == 1:
            return self.fn_ref.original_forward(x)
        x_BFCHW = x.unflatten(0, (-1, num_frames))
        if self.layout.frame_chunk is None:
            y_BCFHW = F.group_norm(x_BFCHW.transpose(1, 2), module.num_groups, module.weight, module.bias, module.eps)
            return y_BCFHW.transpose(1, 2).flatten(0, 1)
        scale_BC, shift_BC = self._affine(module, x_BFCHW)
        y_BFCHW = torch.empty_like(x_BFCHW)
        for frames in self.layout.chunks(num_frames):
            y_BFCHW[:, frames] = (
                x_BFCHW[:, frames] * scale_BC[:, None, :, None, None] + shift_BC[:, None, :, None, None]
            )
        return y_BFCHW.flatten(0, 1)

    def _affine(self, module: nn.GroupNorm, x_BFCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel that the norm of the whole clip amounts to, in two passes over the frames."""
        chunks = [
            x_BFCHW[:, frames].unflatten(2, (module.num_groups, -1)) for frames in self.layout.chunks(x_BFCHW.shape[1])
        ]
        count = x_BFCHW[0].numel() // module.num_groups
        reduced = (1, 3, 4, 5)
        mean_BG = sum(chunk.float().sum(reduced) for chunk in chunks) / count
        centre = mean_BG[:, None, :, None, None, None]
        var_BG = sum((chunk.float() - centre).square().sum(reduced) for chunk in chunks) / count
        per_group = module.num_channels // module.num_groups
        rstd_BC = (var_BG + module.eps).rsqrt().repeat_interleave(per_group, 1)
        scale_BC = rstd_BC * module.weight.float()
        shift_BC = module.bias.float() - mean_BG.repeat_interleave(per_group, 1) * scale_BC
        return scale_BC.to(x_BFCHW.dtype), shift_BC.to(x_BFCHW.dtype)


class FrameChunks(ModelHook):
    """Run a layer that treats frames independently on a few frames at a time."""

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout

    def new_forward(self, module: nn.Module, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Apply the layer to x (B·F, …) in chunks; the output is allocated once."""
        chunk = self.layout.frame_chunk
        if chunk is None or len(x) <= chunk:
            return self.fn_ref.original_forward(x, *args, **kwargs)
        out: Tensor | None = None
        for part in self.layout.chunks(len(x)):
            y = self.fn_ref.original_forward(x[part], *args, **kwargs)
            out = y.new_empty((len(x), *y.shape[1:])) if out is None else out
            out[part] = y
        return out


class ReuseOutput(ModelHook):
    """Keep the last outputs of a frozen layer for inputs that come again unchanged.

    The pose embedding and the text keys and values are the same at every step (`method.md` §1).
    """

    CAPACITY = 2  # the two prompts of classifier-free guidance

    def __init__(self) -> None:
        super().__init__()
        self._kept: OrderedDict[tuple, tuple[Tensor, Tensor]] = OrderedDict()

    def clear(self) -> None:
        """Forget the kept outputs."""
        self._kept.clear()

    def new_forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """Return the kept output where x is memory that was seen before and has not been written to since."""
        if torch.compiler.is_compiling() or any(p.requires_grad for p in module.parameters()):
            return self.fn_ref.original_forward(x)
        device = x.device.type
        key = (
            *(x.data_ptr(), x.shape, x.stride(), x.dtype, None if x.is_inference() else x._version),
            *(torch.is_inference_mode_enabled(), next(module.parameters()).dtype),
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None,
        )
        if key not in self._kept:
            # The input is kept with the output so that its memory cannot pass to another tensor.
            self._kept[key] = (x, self.fn_ref.original_forward(x))
            if len(self._kept) > self.CAPACITY:
                self._kept.popitem(last=False)
        return self._kept[key][1]


def install_hooks(network: nn.Module, layout: ClipLayout, *, clip_group_norm: bool) -> list[ReuseOutput]:
    """Install the hooks on a UNet or ControlNet and return those that keep outputs.

    Clip-wide statistics apply to every GroupNorm outside the transformer blocks (`method.md` §1).
    """

    def register(module: nn.Module, hook: ModelHook) -> ModelHook:
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, type(hook).__name__)
        return hook

    norms = [module.norm1 for module in network.modules() if isinstance(module, ResnetBlock2D)]
    norms += [module.norm2 for module in network.modules() if isinstance(module, ResnetBlock2D)]
    norms += [network.conv_norm_out] if getattr(network, "conv_norm_out", None) is not None else []
    for norm in norms if clip_group_norm else []:
        register(norm, ClipGroupNorm(layout))

    reused = []
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, FeedForward, ControlNetConditioningEmbedding)):
            register(module, FrameChunks(layout))
        if isinstance(module, ControlNetConditioningEmbedding) or name.endswith(("attn2.to_k", "attn2.to_v")):
            reused.append(register(module, ReuseOutput()))
    return reused
