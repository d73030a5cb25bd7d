"""Frames as tensors of which only some are there at a time: a clip of thousands never lies in memory or on the device.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, B windows of L frames.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from eval.metrics.fvd import cut_clips
from src.common.arrays import HELD_BYTES


class FrameTensors:
    """(F, 3, H, W) uint8 on the device; of a clip of at most `HELD_BYTES` all, of a longer one what is asked for."""

    ndim, dtype = 4, torch.uint8

    def __init__(self, frames_FHWC: np.ndarray, device: torch.device) -> None:
        self._frames_FHWC, self._device = frames_FHWC, device
        frames, height, width, channels = frames_FHWC.shape
        self.shape = torch.Size((frames, channels, height, width))
        self._whole = self._made(slice(None)) if frames_FHWC.nbytes <= HELD_BYTES else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        return self._made(rows) if self._whole is None else self._whole[rows]

    def __iter__(self) -> Iterator[Tensor]:
        """Frames (3, H, W), one at a time."""
        return (frame_1CHW[0] for frame_1CHW in self.split(1))

    def split(self, step: int) -> Iterator[Tensor]:
        """Batches of at most `step` frames, in their order."""
        return (self[start : start + step] for start in range(0, len(self), step))

    def _made(self, rows: slice) -> Tensor:
        return as_tensor(self._frames_FHWC[rows]).to(self._device)


class WindowTensors:
    """Windows (B, L, C, H', W') of frames that are prepared as the windows come to them, each once.

    Args:
        prepare: of frames (F, 3, H, W), what does not depend on the window.
        starts, length: of the windows.
        batch_size: frames prepared together.
    """

    def __init__(
        self,
        frames: FrameTensors,
        prepare: Callable[[Tensor], Tensor],
        *,
        starts: range,
        length: int,
        batch_size: int,
    ) -> None:
        self._batches, self._prepare = frames.split(batch_size), prepare
        self._starts, self._length = starts, length
        # Prepared frames, from the one of that number on.
        self._first, self._prepared_FCHW = 0, prepare(next(self._batches))
        self.shape = torch.Size((len(starts), length, *self._prepared_FCHW.shape[1:]))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, rows: slice) -> Tensor:
        """Windows behind those that were asked for before."""
        starts = self._starts[rows]
        # Windows may be farther apart than they are long: what lies between them is passed too.
        while self._first + len(self._prepared_FCHW) <= starts[0]:
            self._first += len(self._prepared_FCHW)
            self._prepared_FCHW = self._prepare(next(self._batches))
        passed = starts[0] - self._first
        assert passed >= 0, "windows are asked for in their order"
        parts = [self._prepared_FCHW[passed:]]
        self._first, there = self._first + passed, len(parts[0])
        while self._first + there < starts[-1] + self._length:
            parts.append(self._prepare(next(self._batches)))
            there += len(parts[-1])
        self._prepared_FCHW = torch.cat(parts)
        own = range(0, starts[-1] - starts[0] + 1, self._starts.step)
        return cut_clips(self._prepared_FCHW, own, self._length)


def as_tensor(frames_FHWC: np.ndarray) -> Tensor:
    """(F, 3, H, W) uint8 on the CPU."""
    return torch.from_numpy(np.require(frames_FHWC, requirements=("C", "W"))).permute(0, 3, 1, 2).contiguous()
