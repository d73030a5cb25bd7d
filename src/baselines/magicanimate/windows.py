"""Overlapping windows of frames that wrap round the end of the video (section 4), and the mean of what they predict."""

from typing import Literal

import torch
from torch import Tensor


def frame_windows(
    num_frames: int, *, length: int, overlap: int, ends: Literal["wrap", "shift"] = "wrap"
) -> list[list[int]]:
    """Frame indices of each window; a video no longer than a window is one window.

    Windows start every `length - overlap` frames. With `wrap` one that would pass the last frame goes on with the first
    ones, which the motion modules then see at high positions; with `shift` it is moved back instead.

    >>> frame_windows(7, length=4, overlap=1)
    [[0, 1, 2, 3], [3, 4, 5, 6], [6, 0, 1, 2]]
    >>> frame_windows(7, length=4, overlap=1, ends="shift")
    [[0, 1, 2, 3], [3, 4, 5, 6]]
    """
    if num_frames <= length:
        return [list(range(num_frames))]
    starts = range(0, num_frames, length - overlap)
    if ends == "wrap":
        return [[(start + i) % num_frames for i in range(length)] for start in starts]
    last = num_frames - length
    kept = [start for start in starts if start <= last]
    kept += [last] if kept[-1] < last else []
    return [list(range(start, start + length)) for start in kept]


def mean_of_windows(predictions: list[Tensor], windows: list[list[int]], num_frames: int) -> Tensor:
    """The mean, frame by frame, of all predictions that a frame got, each of weight 1.

    Args:
        predictions: (B, C, window, h, w) for each window.
        windows: the frames of each; every frame is in at least one.
        num_frames: F.

    Returns:
        (B, C, F, h, w).
    """
    first = predictions[0]
    total_BCFhw = first.new_zeros((*first.shape[:2], num_frames, *first.shape[3:]))
    count_F = first.new_zeros(num_frames)
    for prediction, window in zip(predictions, windows, strict=True):
        frames = torch.tensor(window, device=first.device)
        total_BCFhw.index_add_(2, frames, prediction)
        count_F.index_add_(0, frames, count_F.new_ones(len(window)))
    return total_BCFhw / count_F[:, None, None]
