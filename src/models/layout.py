"""How the frames of a clip lie in the batch axis: the one piece of state that the temporal modules share."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class ClipLayout:
    """Frames are folded into the batch axis, clip by clip: index (p * num_clips + b) * num_frames + f.

    Attributes:
        num_frames: F, frames of each clip; `VideoBackbone` sets it before the networks run.
        num_prompts: P, prompts that are evaluated for the same latents and poses in one batch.
        frame_chunk: at most this many frames pass through a layer at once; None: as many as `tile_elements` allows.
        tile_elements: at most about this many numbers between the steps inside of one layer; None: no limit.
            Both are memory and time, never results.
    """

    num_frames: int = 1
    num_prompts: int = 1
    frame_chunk: int | None = None
    tile_elements: int | None = None

    def chunks(self, length: int, *, elements: int, per_frame: int = 1) -> Iterator[slice]:
        """Split an axis into slices of nearly equal length.

        Args:
            length: of the axis.
            elements: numbers that the layer holds at once for each index of the axis.
            per_frame: indices of the axis to a frame.
        """
        if self.frame_chunk is not None:
            most = self.frame_chunk * per_frame
        elif self.tile_elements is not None:
            most = self.tile_elements // elements
        else:
            most = length
        parts = -(-length // max(1, most))
        size = -(-length // parts)
        return (slice(start, min(start + size, length)) for start in range(0, length, size))
