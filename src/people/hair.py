"""Hair and hat of a rendered person: shells around the skull, strands and curls on them, all turning with the head."""

from functools import lru_cache

import numpy as np

from src.people.body import SIDES, Posed, surface
from src.people.canvas import Canvas, hull, shade, smooth
from src.people.identity import CLOTH_COLOURS, HAIR_COLOURS, Colour, Identity

_SCALP_Y = np.array([-0.5, -0.495, -0.485, -0.47, -0.44, -0.4, -0.35, -0.28, -0.2, -0.1, 0.0, 0.06, 0.12])
_CAP = {"short": 1.15, "long": 1.14, "bun": 1.1, "ponytail": 1.1}

# Outlines on the head: angles about the vertical axis in degrees, and heights.
_BANGS = (
    (-80, -62, -30, 0, 30, 62, 80, 50, 0, -50),
    (-0.02, -0.12, -0.15, -0.14, -0.15, -0.12, -0.02, -0.4, -0.44, -0.4),
)
_SWEPT = ((-84, -70, -40, 0, 40, 70, 82, 40, -40), (0.0, -0.13, -0.14, -0.2, -0.3, -0.2, -0.05, -0.43, -0.42))
_PARTED = ((2, 34, 62, 84, 70, 20), (-0.36, -0.23, -0.1, 0.02, -0.33, -0.46))
_GLOSS = ((-40, -10, 22, 24, -8, -36), (-0.36, -0.4, -0.38, -0.42, -0.445, -0.42))
_LOCK_ROOT = ((72, 84, 92), (-0.26, -0.1, 0.1))
_LOCK_BACK = ((120, 118), (-0.2, 0.05))
_CURL_EDGE = ((-80, -52, -26, 0, 26, 52, 80), (-0.1, -0.25, -0.31, -0.33, -0.31, -0.25, -0.1))
_CURL_GLOSS = ((-30, 5, 36), (-0.4, -0.42, -0.36))
_CURL_RING = (tuple(np.repeat(np.arange(0.0, 360.0, 36.0), 3)), (-0.02, -0.22, -0.38) * 10)
_CURL_TOP = np.array([[-0.16, -0.54, 0], [0.16, -0.54, 0], [0, -0.58, 0.1], [0, -0.55, -0.2]])


def shell(points: np.ndarray, grow: float) -> np.ndarray:
    """Points of the head moved outwards by a factor, a little more at the top."""
    return points * grow + np.array([0, 0.3 * (1 - grow), -0.01])


@lru_cache(maxsize=128)
def scalp(identity: Identity, low: float) -> np.ndarray:
    """(N, 3) points all around the skull above the height `low`."""
    y = _SCALP_Y[low >= _SCALP_Y]
    around = np.pi * np.linspace(-1, 1, 24)
    return surface(identity, np.repeat(y, 24), np.tile(around, len(y)))


@lru_cache(maxsize=512)
def _placed(identity: Identity, outline: tuple, side: float, grow: float) -> np.ndarray:
    angle, y = outline
    return shell(surface(identity, np.array(y), np.radians(side * np.array(angle))), grow)


class HairPainter:
    """Paints the hair of one head; `HeadPainter` calls its parts in order of depth."""

    def __init__(self, canvas: Canvas, posed: Posed) -> None:
        self.canvas, self.posed, self.identity = canvas, posed, posed.identity
        self.colour = HAIR_COLOURS[self.identity.hair_colour]
        pale = sum(self.colour) >= 600
        self.gloss = shade(self.colour, 0.93 if pale else 1.22)
        self.curl_gloss = shade(self.colour, 0.93 if pale else 1.16)
        self.unit = posed.scale * self.identity.head
        self.turn = posed.head[0, 2]

    def at(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) in the frame of the head to (N, 2) in units of the frame."""
        return self.posed.project(self.posed.head_points(points))

    def back(self) -> None:
        """Hair that falls behind the neck and the body."""
        style, p = self.identity.hair_style, self.posed
        dark = shade(self.colour, 0.84)
        if style == "long":
            top = self.at(shell(scalp(self.identity, 0.06), 1.12))
            low = np.array([[-0.42, 0.1, -0.15], [0.42, 0.1, -0.15], [-0.32, 0.3, -0.15], [0.32, 0.3, -0.15]])
            self.canvas.polygon(hull(np.concatenate([top, p.project(low @ p.torso.T)])), dark)
        elif style == "ponytail":
            s = self.identity.hair_side
            root, middle = self.at(np.array([[0.1 * s, -0.28, -0.5], [0.5 * s, 0.05, -0.6]]))
            tip = p.project(p.centre + np.array([0.5 * s, 0.8, -0.4]))
            curve = smooth(np.array([root, middle, tip]), False, 3)
            radii = np.interp(np.linspace(0, 2, len(curve)), [0, 1, 2], np.array([0.14, 0.17, 0.05]) * self.unit)
            for i in range(len(curve) - 1):
                self.canvas.taper(curve[i], curve[i + 1], radii[i], radii[i + 1], dark)
        elif style == "bun":
            self.canvas.circle(self.at(np.array([[0, -0.58, -0.2]]))[0], 0.19 * self.unit, shade(self.colour, 0.88))

    def cap(self) -> None:
        """What lies around the skull, drawn before the face."""
        if self.identity.hair_style == "curly":
            self.canvas.polygon(hull(self.at(shell(scalp(self.identity, 0.06), 1.16))), self.colour)
            self._curls(self.at(_placed(self.identity, _CURL_RING, 1.0, 1.2)), 0.125, self.colour)
            self._curls(self.at(_CURL_TOP), 0.13, self.colour)
        elif self.identity.hair_style != "bald":
            grow = _CAP[self.identity.hair_style]
            self.canvas.polygon(hull(self.at(shell(scalp(self.identity, 0.06), grow))), self.colour)

    def _curls(self, points: np.ndarray, radius: float, colour: Colour) -> None:
        for point in points:
            self.canvas.circle(point, radius * self.unit, colour)

    def _patch(self, outline: tuple, side: float, grow: float, colour: Colour) -> None:
        yaw = np.arcsin(np.clip(self.turn, -1, 1))
        angle, y = outline
        # Points beyond the outline of the turned head stay on it.
        seen = np.clip(np.radians(angle) * side, -1.5 - yaw, 1.5 - yaw)
        points = shell(surface(self.identity, np.array(y), seen), grow)
        self.canvas.polygon(smooth(self.at(points), steps=3), colour)

    def fringe(self) -> None:
        """Hair over the forehead and its gloss."""
        kind, side = self.identity.fringe, self.identity.hair_side
        if self.identity.hair_style == "curly":
            self._curls(self.at(_placed(self.identity, _CURL_EDGE, 1.0, 1.06)), 0.1, self.colour)
            self._curls(self.at(_placed(self.identity, _CURL_GLOSS, 1.0, 1.16)), 0.05, self.curl_gloss)
        elif self.identity.hair_style != "bald":
            if kind == "bangs":
                self._patch(_BANGS, side, 1.1, self.colour)
            elif kind == "swept":
                self._patch(_SWEPT, side, 1.1, self.colour)
            elif kind == "parted":
                for s in SIDES:
                    self._patch(_PARTED, s * side, 1.1, self.colour)
            self._patch(_GLOSS, side, 1.12, self.gloss)

    def locks(self, far: bool) -> None:
        """Strands of long hair in front of the shoulders: those beyond the face (`far`) or on this side of it."""
        if self.identity.hair_style != "long":
            return
        p = self.posed
        for s in SIDES:
            if (s * self.turn > 0.22) != far:
                continue
            root = self.at(_placed(self.identity, _LOCK_ROOT, s, 1.1))
            back = self.at(_placed(self.identity, _LOCK_BACK, s, 1.12))
            ends = np.array(
                [[0.5, 0.0, 0.1], [0.5, 0.3, 0.2], [0.36, 0.44, 0.22], [0.24, 0.3, 0.22], [0.25, -0.04, 0.1]]
            )
            # The ends lie on the shoulders and follow the head a little.
            ends = (ends * np.array([s, 1, 1])) @ p.torso.T + 0.15 * (p.centre + np.array([0, 0.7, 0]))
            shape = np.concatenate([root[:1], back, p.project(ends), root[:0:-1]])
            self.canvas.polygon(smooth(shape, steps=3), shade(self.colour, 0.95))

    def hat(self) -> None:
        if not self.identity.hat_colour:
            return
        colour = CLOTH_COLOURS[self.identity.hat_colour]
        self.canvas.polygon(hull(self.at(shell(scalp(self.identity, -0.25), 1.16))), colour)
        band = self.at(shell(_band(self.identity), 1.19))
        self.canvas.polygon(hull(band), shade(colour, 0.82))
        self.canvas.circle(self.at(np.array([[0, -0.64, 0]]))[0], 0.1 * self.unit, shade(colour, 1.25))


@lru_cache(maxsize=128)
def _band(identity: Identity) -> np.ndarray:
    around = np.pi * np.linspace(-1, 1, 24)
    return surface(identity, np.repeat([-0.3, -0.19], 24), np.tile(around, 2))
