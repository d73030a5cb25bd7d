"""`model.compile`: the layers that repeat, compiled one by one for any number of frames, prompt and timestep.

They are the residual blocks and the feed-forwards, where kernels fuse. What chunks, prompts and kept features change
stays outside of what is compiled; the attentions are matrix products and fused kernels as they are.

Dimensions: X frames of P·B clips.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from src.common.errors import UserError
from src.models.layout import ClipLayout

log = logging.getLogger(__name__)
# Of one layer's: by number of prompts in a batch, resolution, dtype and the like; past it PyTorch raises.
MOST_VARIANTS = 256


def can_compile() -> bool:
    """Whether PyTorch keeps what it compiles apart by layer: else all share one small limit, past which none is."""
    return "isolate_recompiles" in inspect.signature(torch.compile).parameters


class CompiledForwards:
    """The compiled forwards of a backbone's layers: layers of one class and size share theirs.

    Raises:
        UserError: this PyTorch cannot count what it compiles by layer.
    """

    def __init__(self) -> None:
        if not can_compile():
            raise UserError("model.compile=true needs a newer torch, such as 2.14: update it or set it to false")
        self._by_kind: dict[object, Callable[..., Tensor]] = {}

    def of(self, layer: nn.Module) -> Callable[..., Tensor]:
        """A function of the layer and its inputs; compiled when it is called first."""
        kind = type(layer), tuple((name, p.shape, p.dtype) for name, p in layer.named_parameters())
        if not self._by_kind:
            log.info("model.compile: the first step compiles, which takes a minute or more; later ones do not")
        if kind not in self._by_kind:
            # Both are PyTorch's, and its overloads leave them out.
            options: dict[str, Any] = {"isolate_recompiles": True, "recompile_limit": MOST_VARIANTS}
            self._by_kind[kind] = torch.compile(type(layer).forward, fullgraph=True, **options)
        return self._by_kind[kind]


class CompiledLayer(ModelHook):
    """Run a layer compiled. In training, and of one frame, it runs as it is: to the bit as without.

    Args:
        layout: says how many frames a clip has.
        forwards: those of the backbone.
    """

    def __init__(self, layout: ClipLayout, forwards: CompiledForwards) -> None:
        super().__init__()
        self.layout = layout
        self.forwards = forwards
        self._compiled: Callable[..., Tensor] | None = None

    def new_forward(self, module: nn.Module, x: Tensor, *args: Tensor) -> Tensor:
        """Apply the layer to x (X, …), and to others with its first axis.

        Raises:
            UserError: there is no compiler.
        """
        if self.layout.num_frames == 1 or torch.is_grad_enabled():
            forward = self.fn_ref.original_forward
            assert forward is not None, "a hook runs where it was registered"
            return forward(x, *args)
        self._compiled = self._compiled or self.forwards.of(module)
        for tensor in (x, *args):
            if len(tensor) > 1:
                torch._dynamo.mark_dynamic(tensor, 0)
        self.layout.clips_compiled = max(1, self.layout.clips_of(len(x)))
        try:
            return self._compiled(module, x, *args)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().splitlines()[0]
            raise UserError(
                f"model.compile=true needs a C++ compiler (g++), and Triton on a GPU: {reason}; or set it to false"
            ) from error
        finally:
            self.layout.clips_compiled = None
