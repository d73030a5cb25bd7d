"""Hooks on the layers of unmodified diffusers models: clip-wide group norm, frame chunks, what prompts share.

Dimensions: B clips (times P prompts), F frames, C channels, H×W latent cells.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypeVar, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import DownBlock2D
from torch import Tensor, nn

from src.models.chunking import CPU_TILE_BYTES
from src.models.clip_norm import ClipNorm
from src.models.compiled import CompiledForwards, CompiledLayer
from src.models.layout import ClipLayout, joined

ImageNetwork = UNet2DConditionModel | ControlNetModel
Hook = TypeVar("Hook", bound=ModelHook)


class ClipGroupNorm(ModelHook):
    """Group statistics over all frames of a clip, as in the public ControlVideo model, whose norms see (B, C, F, H, W).

    With one frame the layer's own forward runs, so the result is the image model's to the bit.
    """

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout

    def new_forward(self, module: nn.GroupNorm, x: Tensor) -> Tensor:
        """Normalise x (B·F, C, H, W) of any dtype and memory format."""
        num_clips = self.layout.clips_of(len(x))
        num_frames = len(x) // num_clips
        if num_frames == 1:
            return original_forward(self)(x)
        chunks = list(self.layout.chunks(num_frames, elements=x[0].numel()))
        if _quicker_by_library(x, chunks):
            x_BCFHW = x.unflatten(0, (num_clips, -1)).transpose(1, 2)
            y_BCFHW = nn.functional.group_norm(x_BCFHW, module.num_groups, module.weight, module.bias, module.eps)
            return y_BCFHW.transpose(1, 2).flatten(0, 1)
        arguments = (module.weight, module.bias, module.num_groups, module.eps, chunks)
        return ClipNorm.apply(x.unflatten(0, (num_clips, -1)), *arguments).flatten(0, 1)


def _quicker_by_library(x: Tensor, chunks: Sequence[slice]) -> bool:
    """Whether the library's norm of a whole clip costs less than ours, copies of the clip included.

    On a CPU it reads a group while that is in the cache; of a GPU it would occupy one block a group. In 16 bits ours
    alone is the same in chunks as whole.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    return len(chunks) == 1 and x.numel() * x.element_size() <= CPU_TILE_BYTES


class FrameChunks(ModelHook):
    """Run a layer that treats frames independently, and is much wider inside than outside, on some frames at a time.

    Args:
        layout: says how many.
        width: numbers that the layer holds for each of its input.
        equal: parts of one size, for which a layer is compiled once.
    """

    def __init__(self, layout: ClipLayout, width: int = 1, *, equal: bool = False) -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        self.equal = equal

    def new_forward(self, module: nn.Module, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Apply the layer to x (B·F, …) in chunks; the output is allocated once."""
        parts = list(self.layout.chunks(len(x), elements=x[0].numel() * self.width, equal=self.equal))
        if len(parts) == 1 or (torch.is_grad_enabled() and x.requires_grad):
            return original_forward(self)(x, *args, **kwargs)
        return joined(lambda part: original_forward(self)(x[part], *args, **kwargs), parts, length=len(x))


class GivenEmbedding(ModelHook):
    """Stands for the ControlNet's pose embedding: what arrives was embedded beforehand (`VideoBackbone.prepare`).

    Args:
        controlnet: it turns the channels of what it is given round, where it was trained on BGR.
    """

    def __init__(self, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.turned = controlnet.config["controlnet_conditioning_channel_order"] == "bgr"

    def new_forward(self, module: nn.Module, embedding: Tensor) -> Tensor:
        """Pass the embedding on."""
        return self._turned(embedding)

    def embed(self, poses: Tensor) -> Tensor:
        """The module's own work: images (X, 3, H, W) in [0, 1] to (X, C, h, w)."""
        return original_forward(self)(self._turned(poses))

    def _turned(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.turned else x


class SharedByPrompts(ModelHook):
    """Run a layer that has seen no text yet for one prompt alone; its result is that of the other too."""

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout

    def new_forward(self, module: nn.Module, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Apply the layer to x (P·B·F, …): to the first of P equal parts, or for the first of two prompts in turn."""
        num_prompts, shared = self.layout.num_prompts, self.layout.shared
        if shared is not None and module in shared:
            return shared.pop(module)
        rows = len(x) // num_prompts
        one = [a[:rows] if isinstance(a, Tensor) and len(a) == len(x) else a for a in args]
        y = original_forward(self)(x[:rows], *one, **kwargs)
        if shared is not None:
            shared[module] = y
        return y if num_prompts == 1 else torch.cat([y] * num_prompts)


class InPlaceActivation(ModelHook):
    """The activation between a residual block's norm and convolution overwrites what the norm gave."""

    def new_forward(self, module: nn.Module, x: Tensor) -> Tensor:
        """Images in place where no gradient is wanted; the time embedding (X, C), which others read, is left alone."""
        if x.ndim != 4 or (torch.is_grad_enabled() and x.requires_grad):
            return original_forward(self)(x)
        return nn.functional.silu(x, inplace=True)


class KeptOutput(ModelHook):
    """A deep block whose output of an earlier timestep may stand for that of a later one (`KeptFeatures`)."""

    def __init__(self, layout: ClipLayout, name: str) -> None:
        super().__init__()
        self.layout = layout
        self.name = name

    def new_forward(self, module: nn.Module, *args: object, **kwargs: object) -> object:
        """Run the block, or take over what it gave."""
        kept = self.layout.kept
        if kept is not None and kept.reuse:
            return kept.outputs[self.name]
        output = original_forward(self)(*args, **kwargs)
        if kept is not None:
            kept.outputs[self.name] = output
        return output


def install_given_embedding(controlnet: ControlNetModel) -> GivenEmbedding:
    """Let a ControlNet take embedded images in place of images."""
    return register(controlnet.controlnet_cond_embedding, GivenEmbedding(controlnet))


def install_kept_outputs(unet: UNet2DConditionModel, layout: ClipLayout) -> None:
    """All of a UNet but its finest level, whose blocks see every timestep anew."""
    deep = {f"down_blocks.{i}": block for i, block in enumerate(unet.down_blocks) if i > 0}
    deep["mid_block"] = unet.mid_block
    deep |= {f"up_blocks.{i}": block for i, block in enumerate(unet.up_blocks[:-1])}
    for name, block in deep.items():
        register(block, KeptOutput(layout, name))


def layers_before_text(network: ImageNetwork) -> Iterator[nn.Module]:
    """The layers of a UNet or ControlNet that run before its first attention to text, but for small ones.

    Of the transformer that holds this attention it is the self-attention: its projection saves less than the one more
    tensor of the finest level is worth, which would wait for the second prompt.
    """
    for block in cast("Iterable[DownBlock2D]", network.down_blocks):
        attentions = getattr(block, "attentions", [])
        for resnet, transformer in zip_longest(block.resnets, attentions):
            yield resnet
            if transformer is not None:
                yield transformer.transformer_blocks[0].attn1
                return
        yield from block.downsamplers or []


def original_forward(hook: ModelHook) -> Callable[..., Any]:
    """What the hook's module does without it."""
    forward = hook.fn_ref.original_forward
    assert forward is not None, "a hook runs where it was registered"
    return forward


def register(module: nn.Module, hook: Hook) -> Hook:
    """Put a hook on a module, outside of those that it has."""
    HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, type(hook).__name__)
    return hook


def install_hooks(
    network: ImageNetwork, layout: ClipLayout, *, clip_group_norm: bool, compiled: CompiledForwards | None = None
) -> None:
    """Install the hooks on a UNet or ControlNet.

    Clip-wide statistics apply to every GroupNorm outside the transformer blocks (`ARCHITECTURE.md`). With `compiled`,
    residual blocks and feed-forwards run compiled, inside of the hooks that cut frames and share prompts.
    """
    norms = [module.norm1 for module in network.modules() if isinstance(module, ResnetBlock2D)]
    norms += [module.norm2 for module in network.modules() if isinstance(module, ResnetBlock2D)]
    last = getattr(network, "conv_norm_out", None)
    norms += [last] if last is not None else []
    for norm in norms if clip_group_norm else []:
        register(norm, ClipGroupNorm(layout))
    for module in list(network.modules()):
        if isinstance(module, ResnetBlock2D) and isinstance(module.nonlinearity, nn.SiLU):
            # Blocks may have one activation between them: each gets its own, with a hook of its own.
            module.nonlinearity = nn.SiLU()
            register(module.nonlinearity, InPlaceActivation())
        if compiled is not None and isinstance(module, (FeedForward, ResnetBlock2D)):
            register(module, CompiledLayer(layout, compiled))
        if isinstance(module, FeedForward):
            # The gated unit holds its input, the product eight times as wide, and half of that twice.
            register(module, FrameChunks(layout, width=16, equal=compiled is not None))
    for module in layers_before_text(network):
        register(module, SharedByPrompts(layout))
