"""How the frames of a clip lie in the batch axis: the one piece of state that the temporal modules share."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class ClipLayout:
    """Frames are folded into the batch axis, clip by clip: index b * num_frames + f.

    Attributes:
        num_frames: F, frames of each clip; `VideoBackbone.forward` sets it before the networks run.
        frame_chunk: at most this many frames pass through a layer at once; None: all. Memory, never results.
    """

    num_frames: int = 1
    frame_chunk: int | None = None

    def chunks(self, length: int, per_frame: int = 1) -> Iterator[slice]:
        """Split an axis of `length` elements, `per_frame` to a frame, into slices of `frame_chunk` frames."""
        size = length if self.frame_chunk is None else max(1, self.frame_chunk * per_frame)
        return (slice(start, min(start + size, length)) for start in range(0, length, size))
