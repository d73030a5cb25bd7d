"""Anti-aliased flat shapes on an RGB image, in units of the frame, on OpenCV."""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

SUPERSAMPLE = 2
_SHIFT = 4


def shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    """Darken (factor < 1, a little towards blue) or lighten (factor > 1, towards white) a colour."""
    if factor <= 1:
        r, g, b = colour
        return int(r * factor), int(g * factor), int(b * (0.85 * factor + 0.15))
    r, g, b = (int(c + (255 - c) * (factor - 1)) for c in colour)
    return r, g, b


def mix(a: tuple[int, int, int], b: tuple[int, int, int], t: float) -> tuple[int, int, int]:
    """The colour at t between a (0) and b (1)."""
    red, green, blue = (int(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return red, green, blue


@lru_cache(maxsize=64)
def _spline(n: int, closed: bool, steps: int) -> np.ndarray:
    rows = []
    for i in range(n if closed else n - 1):
        for t in np.arange(steps) / steps:
            w = 0.5 * np.array([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2])
            row = np.zeros(n)
            for k, weight in enumerate(w):
                j = i - 1 + k
                row[j % n if closed else min(max(j, 0), n - 1)] += weight
            rows.append(row)
    if not closed:
        rows.append(np.eye(n)[-1])
    return np.array(rows)


def smooth(points: np.ndarray, closed: bool = True, steps: int = 4) -> np.ndarray:
    """Catmull-Rom curve through (N, 2) points."""
    return _spline(len(points), closed, steps) @ points


def hull(points: np.ndarray) -> np.ndarray:
    """Convex hull of (N, 2) points, in order."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


class Canvas:
    """An image under construction; every coordinate and radius is in units of the frame."""

    def __init__(self, image: np.ndarray, side: int, origin: np.ndarray) -> None:
        """Paint on `image`, the part from pixel `origin` (x, y) on of a square picture of `side` pixels."""
        self.image, self.side, self.origin = image, side, origin

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        scaled = (np.asarray(points) * self.side - 0.5 - self.origin) * (1 << _SHIFT)
        return np.rint(scaled).astype(np.int32)

    def polygon(self, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def blob(self, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        self.polygon(smooth(points), colour)

    def circle(self, centre: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
        x, y = self._fixed(centre)
        r = max(int(radius * self.side * (1 << _SHIFT)), 4)
        cv2.circle(self.image, (int(x), int(y)), r, colour, -1, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, width: float, colour: tuple[int, int, int]) -> None:
        """A stroke of constant width with round ends."""
        thickness = max(round(width * self.side), 1)
        cv2.polylines(self.image, [self._fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def taper(self, a: np.ndarray, b: np.ndarray, ra: float, rb: float, colour: tuple[int, int, int]) -> None:
        """Two round ends of radii ra and rb and what lies between them."""
        d = b - a
        n = np.array([-d[1], d[0]]) / max(float(np.hypot(*d)), 1e-6)
        fixed = self._fixed(np.array([a + n * ra, b + n * rb, b - n * rb, a - n * ra, a, b]))
        cv2.fillPoly(self.image, [fixed[:4]], colour, cv2.LINE_AA, _SHIFT)
        for centre, radius in ((fixed[4], ra), (fixed[5], rb)):
            r = max(int(radius * self.side * (1 << _SHIFT)), 4)
            cv2.circle(self.image, centre.tolist(), r, colour, -1, cv2.LINE_AA, _SHIFT)

    def inside(self, shape: np.ndarray, base: tuple[int, int, int], paint: Callable[["Canvas"], None]) -> None:
        """Fill the polygon `shape` with `base`, and show of what `paint` draws only what lies inside it."""
        self.polygon(shape, base)
        fixed = self._fixed(shape)
        height, width = self.image.shape[:2]
        low = np.clip((fixed.min(0) >> _SHIFT) - 1, 0, (width, height))
        high = np.clip((fixed.max(0) >> _SHIFT) + 2, 0, (width, height))
        if (high <= low).any():
            return
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        layer = self.image[window].copy()
        paint(Canvas(layer, self.side, self.origin + low))
        mask = np.zeros(layer.shape[:2], np.uint8)
        cv2.fillPoly(mask, [fixed - (low << _SHIFT)], (255,), cv2.LINE_AA, _SHIFT)
        cv2.copyTo(layer, (mask > 127).view(np.uint8), self.image[window])
