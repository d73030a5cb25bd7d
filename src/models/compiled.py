"""`model.compile` and `model.compile_training`: the layers that repeat, compiled one by one.

They are the residual blocks and the feed-forwards, where kernels fuse. What chunks, prompts and kept features change
stays outside of what is compiled; the attentions are matrix products and fused kernels as they are. In sampling one
compilation serves any number of frames, prompt and timestep; training has one number of frames, and compiles for it.

Dimensions: X frames of P·B clips.
"""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
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
# Of this process, by kind of layer: a benchmark builds a backbone for each person, and PyTorch counts them together.
_BY_KIND: dict[object, Callable[..., Tensor]] = {}


def can_compile() -> bool:
    """Whether PyTorch keeps what it compiles apart by layer: else all share one small limit, past which none is."""
    return "isolate_recompiles" in inspect.signature(torch.compile).parameters


class CompiledForwards:
    """The compiled forwards of layers: those of one class and size share theirs, whatever backbone they are of.

    Args:
        sampling, training: whether layers run compiled without gradients, and with.

    Raises:
        UserError: this PyTorch cannot count what it compiles by layer.
    """

    def __init__(self, *, sampling: bool, training: bool) -> None:
        if not can_compile():
            raise UserError(
                "model.compile=true and model.compile_training=true need a newer torch, such as 2.14: update it or set "
                "them to false"
            )
        self.sampling, self.training = sampling, training

    @classmethod
    def build(cls, *, sampling: bool, training: bool) -> "CompiledForwards | None":
        """Of these, or None where neither is wanted."""
        return cls(sampling=sampling, training=training) if sampling or training else None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block layers run as they are."""
        before = self.sampling, self.training
        self.sampling = self.training = False
        try:
            yield
        finally:
            self.sampling, self.training = before

    def wanted(self) -> bool:
        """Whether what runs now is compiled."""
        return self.training if torch.is_grad_enabled() else self.sampling

    def of(self, layer: nn.Module) -> Callable[..., Tensor]:
        """A function of the layer and its inputs; compiled when it is called first."""
        learning = torch.is_grad_enabled()
        kind = learning, type(layer), tuple((name, p.shape, p.dtype) for name, p in layer.named_parameters())
        if not _BY_KIND:
            log.info("the first step compiles, which takes a minute or more; later ones do not")
        if kind not in _BY_KIND:
            # Both are PyTorch's, and its overloads leave them out.
            options: dict[str, Any] = {"isolate_recompiles": True, "recompile_limit": MOST_VARIANTS}
            # Gradient checkpointing runs a layer twice, and both must be of one compilation: of the layer's own sizes.
            options |= {"dynamic": False} if learning else {}
            _BY_KIND[kind] = torch.compile(type(layer).forward, fullgraph=True, **options)
        return _BY_KIND[kind]


class CompiledLayer(ModelHook):
    """Run a layer compiled where that is wanted. Of one frame it runs as it is: to the bit as without.

    Args:
        layout: says how many frames a clip has.
        forwards: those of the backbone.
    """

    def __init__(self, layout: ClipLayout, forwards: CompiledForwards) -> None:
        super().__init__()
        self.layout = layout
        self.forwards = forwards
        self._compiled: dict[bool, Callable[..., Tensor]] = {}

    def new_forward(self, module: nn.Module, x: Tensor, *args: Tensor) -> Tensor:
        """Apply the layer to x (X, …), and to others with its first axis.

        Raises:
            UserError: there is no compiler.
        """
        if self.layout.num_frames == 1 or not self.forwards.wanted():
            forward = self.fn_ref.original_forward
            assert forward is not None, "a hook runs where it was registered"
            return forward(x, *args)
        learning = torch.is_grad_enabled()
        if learning not in self._compiled:
            self._compiled[learning] = self.forwards.of(module)
        for tensor in () if learning else (x, *args):
            if len(tensor) > 1:
                torch._dynamo.mark_dynamic(tensor, 0)
        self.layout.clips_compiled = max(1, self.layout.clips_of(len(x)))
        try:
            return self._compiled[learning](module, x, *args)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().splitlines()[0]
            raise UserError(
                f"compiling needs a C++ compiler (g++), and Triton on a GPU: {reason}; or set model.compile and "
                "model.compile_training to false"
            ) from error
        finally:
            self.layout.clips_compiled = None
