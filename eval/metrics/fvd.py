"""FVD: Fréchet video distance between generated and real clips."""

from typing import ClassVar

from torch import Tensor

from eval.metrics.base import NotComputable
from eval.metrics.frechet import FrechetMetric
from src.common.counting import counted


def clip_starts(num_frames: int, *, clip_length: int, stride: int, drop_last: bool) -> range:
    """First frames of the clips that a video is cut into; a remainder shorter than a clip is left out.

    Args:
        drop_last: leave out the last clip too, as DisCo's loop does.

    Raises:
        NotComputable: the video gives no clip.

    >>> list(clip_starts(100, clip_length=16, stride=16, drop_last=False))
    [0, 16, 32, 48, 64, 80]
    >>> len(clip_starts(100, clip_length=16, stride=1, drop_last=True))
    84
    """
    starts = range(0, num_frames - clip_length + 1, stride)
    starts = starts[:-1] if drop_last else starts
    if not starts:
        needed = clip_length + drop_last * stride
        raise NotComputable(f"FVD needs videos of at least {counted(needed, 'frame')}, got one of {num_frames}")
    return starts


def cut_clips(frames_FCHW: Tensor, starts: range, clip_length: int) -> Tensor:
    """The clips (B, F, C, H, W) that begin at `starts`, as a view where possible."""
    return frames_FCHW.unfold(0, clip_length, 1)[starts.start : starts.stop : starts.step].movedim(-1, 1)


class FVD(FrechetMetric):
    """Fréchet distance of I3D's Kinetics-400 logits.

    Range [0, inf), lower is better, about 0 for identical sets. Resolution: resized to 224 x 224 by the network's own
    rule (`eval.networks.i3d`). Colour: 8-bit RGB mapped to [-1, 1]. Pooling: every video is cut into
    clips of the protocol's length and stride, and the clips of all videos form one set. Network: I3D as
    TorchScript (bec6519f…) or cd-fvd's port. Source: Unterthiner et al. 2018; the paper's Sec. 5.1.
    """

    unit: ClassVar[str] = "clips"
