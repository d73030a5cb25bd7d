"""How the frames of a clip lie in the batch axis: the one piece of state that the temporal modules share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class KeptFeatures:
    """What one evaluation leaves for those at the next timesteps: the ControlNet's output and the UNet's deep features.

    Attributes:
        reuse: whether the next evaluation takes them over; otherwise it computes and replaces them.
        outputs: by layer; empty before the first evaluation.
    """

    reuse: bool = False
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class ClipLayout:
    """Frames are folded into the batch axis, clip by clip: index (p * num_clips + b) * num_frames + f.

    Attributes:
        num_frames: F, frames of each clip; `VideoBackbone` sets it before the networks run.
        num_prompts: P, prompts that are evaluated for the same latents and poses in one batch.
        frame_chunk: at most this many frames pass through a layer at once; None: as many as `tile_elements` allows.
        tile_elements: at most about this many numbers between the steps inside of one layer; None: no limit.
            Both are memory and time, never results.
        shared: outputs of the first of two prompts that are evaluated in turn, for the second; None: nothing is shared.
        kept: features that the running evaluation leaves or takes over; None: neither, and between evaluations, so that
            the gigabytes they are go with whoever samples.
        clips_compiled: clips in what a compiled layer runs on; it may not read `num_frames`, with which it would be
            compiled anew for each. None: no such layer runs.
    """

    num_frames: int = 1
    num_prompts: int = 1
    frame_chunk: int | None = None
    tile_elements: int | None = None
    kept: KeptFeatures | None = None
    shared: dict[nn.Module, Tensor] | None = None
    clips_compiled: int | None = None

    def clips_of(self, length: int) -> int:
        """Clips in a batch axis of some length, which before the first text holds one prompt alone."""
        return self.clips_compiled or length // self.num_frames

    def chunks(self, length: int, *, elements: int = 1, per_frame: int = 1, equal: bool = False) -> Iterator[slice]:
        """Split an axis into slices of nearly equal length.

        Args:
            length: of the axis.
            elements: numbers that the layer holds at once for each index of the axis; matters to `tile_elements`.
            per_frame: indices of the axis to a frame.
            equal: exactly equal; the last may overlap the one before.
        """
        if torch.compiler.is_compiling():
            # A loop would be unrolled and compiled anew for every number of frames; fused, nothing is held inside.
            return iter([slice(None)])
        if self.frame_chunk is not None:
            most = self.frame_chunk * per_frame
        elif self.tile_elements is not None:
            most = self.tile_elements // elements
        else:
            most = length
        parts = -(-length // max(1, most))
        size = -(-length // parts)
        starts = (min(start, length - size) if equal else start for start in range(0, length, size))
        return (slice(start, min(start + size, length)) for start in starts)


def joined(of: Callable[[slice], Tensor], chunks: Iterable[slice], *, length: int, axis: int = 0) -> Tensor:
    """What `of` gives for each chunk of an axis, put together; without gradients all parts are never held beside it.

    Args:
        of: the part of a slice.
        chunks: that cover the axis; without gradients they may overlap (`equal` ones of `ClipLayout.chunks`).
        length: of the axis, in the result.
        axis: of the result that was cut.
    """
    chunks = list(chunks)
    first = of(chunks[0])
    if len(chunks) == 1:
        return first
    if first.requires_grad:
        return torch.cat([first, *(of(part) for part in chunks[1:])], axis)
    whole = first.new_empty((*first.shape[:axis], length, *first.shape[axis + 1 :]))
    whole.movedim(axis, 0)[chunks[0]] = first.movedim(axis, 0)
    for part in chunks[1:]:
        whole.movedim(axis, 0)[part] = of(part).movedim(axis, 0)
    return whole
