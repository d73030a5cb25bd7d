"""How the frames of a video are turned and mirrored before they are shown.

Dimensions: H x W pixels, C channels.
"""

import struct
from typing import NamedTuple

import av
import numpy as np


class Orientation(NamedTuple):
    """What a frame as it is stored still lacks.

    Attributes:
        turns: quarter turns clockwise, 0 to 3.
        mirrored: left and right are exchanged behind that, as in what front cameras of phones keep.
    """

    turns: int
    mirrored: bool

    def applied(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, C), or (W, H, C) behind an odd number of turns, as it is to be shown."""
        turned = np.rot90(frame, -self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def __str__(self) -> str:
        """In words; empty where the frame is shown as it is."""
        turned = f", turned by {90 * self.turns} degrees" if self.turns else ""
        return turned + (", mirrored" if self.mirrored else "")


def orientation(frame: av.VideoFrame) -> Orientation:
    """The orientation that is nearest to a decoded frame's display matrix, whatever that holds.

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y); see `libavutil/display.h`. FFmpeg's angle,
    `frame.rotation`, is right only of matrices that do not mirror.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation(0, mirrored=False)
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c < 0, b < 0) if transposed else (a < 0, d < 0)
    return Orientation(2 * down + transposed, mirrored=transposed ^ across ^ down)
