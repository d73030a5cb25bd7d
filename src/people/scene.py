"""The room behind a rendered person: a wall, for dance a floor, and one or two objects."""

from functools import lru_cache

import cv2
import numpy as np

from src.people.canvas import SUPERSAMPLE, Canvas, mix, shade
from src.people.identity import BACKGROUND_COLOURS, Colour, Identity

HORIZON = 0.8


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _object(canvas: Canvas, name: str, where: float, right: int, wall: Colour, kind: str) -> None:
    x = 0.14 + 0.06 * where
    x = 1 - x if right else x
    dance = kind == "dance"
    light, dark = mix(wall, (255, 255, 255), 0.55), mix(wall, (50, 46, 70), 0.4)
    accent = mix(wall, ((232, 150, 90), (90, 140, 190), (214, 110, 110))[int(where * 2.99)], 0.65)
    base = HORIZON + 0.02 if dance else 1.02
    if name == "picture":
        y = 0.2 + 0.06 * where
        canvas.polygon(_box(x - 0.11, y - 0.1, x + 0.11, y + 0.1), dark)
        canvas.polygon(_box(x - 0.092, y - 0.082, x + 0.092, y + 0.082), light)
        canvas.polygon(np.array([[x - 0.092, y + 0.082], [x - 0.03, y - 0.02], [x + 0.03, y + 0.082]]), accent)
        canvas.polygon(np.array([[x - 0.02, y + 0.082], [x + 0.045, y + 0.01], [x + 0.092, y + 0.082]]), dark)
    elif name == "shelf":
        y = 0.3 + 0.06 * where
        for i, (h, c) in enumerate(((0.13, accent), (0.1, light), (0.14, dark))):
            canvas.polygon(_box(x - 0.09 + 0.052 * i, y - h, x - 0.05 + 0.052 * i, y), c)
        canvas.polygon(_box(x - 0.13, y, x + 0.13, y + 0.03), mix(wall, (120, 80, 54), 0.7))
    elif name == "plant":
        green = mix(wall, (52, 128, 84), 0.8)
        for i, (dx, h) in enumerate(((-0.09, 0.2), (0.09, 0.22), (-0.04, 0.3), (0.05, 0.32))):
            tip = np.array([x + dx, base - 0.12 - h])
            foot = np.array([x, base - 0.1])
            side = np.array([0.034, 0.012])
            middle = (tip + foot) / 2 + np.array([dx * 0.25, 0])
            canvas.blob(np.array([foot, middle - side, tip, middle + side]), shade(green, 0.85 + 0.07 * i))
        pot = np.array([[x - 0.07, base - 0.14], [x + 0.07, base - 0.14], [x + 0.05, base], [x - 0.05, base]])
        canvas.polygon(pot, mix(wall, (206, 112, 78), 0.8))
    elif name == "window":
        canvas.polygon(_box(x - 0.14, 0.06, x + 0.14, 0.46), light)
        canvas.polygon(_box(x - 0.115, 0.085, x + 0.115, 0.435), (178, 218, 242))
        canvas.polygon(_box(x - 0.115, 0.34, x + 0.115, 0.435), mix((178, 218, 242), (92, 160, 112), 0.6))
        canvas.polygon(_box(x - 0.012, 0.085, x + 0.012, 0.435), light)
        canvas.polygon(_box(x - 0.16, 0.455, x + 0.16, 0.485), dark)
    else:
        canvas.polygon(_box(x - 0.012, 0.3, x + 0.012, base), dark)
        canvas.polygon(_box(x - 0.06, base - 0.02, x + 0.06, base), dark)
        shape = np.array([[x - 0.06, 0.16], [x + 0.06, 0.16], [x + 0.115, 0.34], [x - 0.115, 0.34]])
        canvas.polygon(shape, mix(wall, (255, 228, 150), 0.85))


@lru_cache(maxsize=4)
def _glow(side: int) -> np.ndarray:
    """(S, S, 3) uint8 light on the wall, brightest behind the head; 255 stands for a factor of 1.06."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    light = np.clip(1.05 - 0.5 * ((x - 0.5) ** 2 + (y - 0.35) ** 2), 0.7, 1.06)
    return np.repeat((light * (255 / 1.06)).astype(np.uint8)[..., None], 3, -1)


@lru_cache(maxsize=32)
def background(identity: Identity, kind: str, size: int) -> np.ndarray:
    """The empty room, (S, S, 3) uint8 at `SUPERSAMPLE` times `size`; not to be written to."""
    side = size * SUPERSAMPLE
    wall = BACKGROUND_COLOURS[identity.background]
    table = np.clip(np.arange(256, dtype=np.float32)[:, None] * (1.06 / 255) * np.array(wall, np.float32), 0, 255)
    image = cv2.LUT(_glow(side), table.astype(np.uint8)[None])
    canvas = Canvas(image, side, np.zeros(2))
    if kind == "dance":
        floor = mix(wall, identity.floor, 0.75)
        canvas.polygon(_box(-0.1, HORIZON, 1.1, 1.1), floor)
        canvas.polygon(_box(-0.1, HORIZON - 0.028, 1.1, HORIZON), mix(wall, (255, 255, 255), 0.4))
        canvas.polygon(np.array([[0.1, 0.88], [0.9, 0.88], [1.05, 1.05], [-0.05, 1.05]]), shade(floor, 1.12))
    for name, where, right in identity.objects:
        _object(canvas, name, where, right, wall, kind)
    image.setflags(write=False)
    return image
