"""Head of a rendered person: skull, ears, face, glasses and beard, all from the landmarks and the head surface."""

from functools import lru_cache

import numpy as np

from src.people.body import SIDES, Posed, on_face, surface
from src.people.canvas import Canvas, hull, mix, shade, smooth
from src.people.hair import HairPainter, scalp
from src.people.identity import Identity

# The front of the head below the hairline: heights, and how far round it reaches there.
_FACE_Y = np.array([-0.335, -0.325, -0.31, -0.26, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.38, 0.44, 0.475, 0.495, 0.5])
_FACE_WIDE = np.radians([10, 22, 34, 50, 64, 78, 84, 90, 90, 90, 90, 90, 90, 90, 90])
_EAR = np.array([[0, -0.1, 0.03], [0.035, -0.08, -0.06], [0.03, 0.02, -0.07], [0.0, 0.1, 0.0], [0, 0, 0.04]])
_LINE, _FRAME, _WHITE, _MOUTH = (46, 32, 36), (40, 40, 52), (252, 250, 248), (92, 26, 36)


@lru_cache(maxsize=128)
def _front(identity: Identity) -> np.ndarray:
    angle = _FACE_WIDE[:, None] * np.linspace(-1, 1, 11)
    return surface(identity, np.repeat(_FACE_Y, 11), angle.ravel())


@lru_cache(maxsize=128)
def _cheek(identity: Identity, side: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    return on_face(identity, side * 0.21 + 0.062 * np.cos(t), 0.195 + 0.045 * np.sin(t))


@lru_cache(maxsize=128)
def _beard_top(identity: Identity) -> np.ndarray:
    t = np.linspace(-1, 1, 13)
    return on_face(identity, 0.29 * identity.face_width * -t, 0.13 + 0.13 * (1 - t**4))


@lru_cache(maxsize=128)
def _rims(identity: Identity) -> np.ndarray:
    """(2, 20, 3) outlines of both glasses."""
    t = np.linspace(0, 2 * np.pi, 20)
    power = 1.0 if identity.glasses == "round" else 0.55
    c, s = np.cos(t), np.sin(t)
    ring = np.stack([np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power * 0.86, 0 * c], -1)
    rims = np.stack([np.array([side * 0.165 * identity.eye_spacing, 0.045, 0.46]) + 0.135 * ring for side in SIDES])
    rims[..., 2] -= 0.25 * np.maximum(np.abs(rims[..., 0]) - 0.12, 0)
    return rims


class HeadPainter:
    """Paints one head; `hair.back()` comes first, then what the body draws of the neck, then `head()`."""

    def __init__(self, canvas: Canvas, posed: Posed) -> None:
        self.canvas, self.posed, self.identity = canvas, posed, posed.identity
        self.hair = HairPainter(canvas, posed)
        self.at = self.hair.at
        self.skin = self.identity.skin
        self.unit = self.hair.unit
        self.turn = self.hair.turn
        self.face = posed.project(posed.face)

    def head(self) -> None:
        identity, canvas, hair = self.identity, self.canvas, self.hair
        bald = identity.hair_style == "bald"
        front = _front(identity).copy()
        front[:, 1] += 0.055 * self.posed.state.face[2] * np.clip((front[:, 1] - 0.2) / 0.3, 0, 1)
        front = self.at(front)
        near = 1 if self.turn < 0 else 0
        if SIDES[1 - near] * self.turn < 0.75:
            self.ear(1 - near)
        skull = np.concatenate([self.at(scalp(identity, 0.12)), front])
        canvas.polygon(hull(skull), shade(self.skin, 1.0 if bald else 0.93))
        hair.cap()
        hair.locks(far=True)
        canvas.polygon(hull(front), self.skin)
        if not identity.beard:
            self.cheeks()
        if identity.hair_style != "long":
            self.ear(near)
        if identity.beard:
            self.beard()
        self.nose()
        for side, start in enumerate((36, 42)):
            self.eye(side, start)
        self.mouth()
        if identity.glasses:
            self.glasses()
        hair.fringe()
        self.brows()
        hair.locks(far=False)
        hair.hat()

    def ear(self, side: int) -> None:
        sign = SIDES[side]
        x = sign * 0.37 * self.identity.face_width
        points = _EAR * np.array([sign, 1, 1]) + np.array([x, 0.07, -0.02])
        points = np.concatenate([points, points * np.array([0.93, 1, 1])])
        self.canvas.polygon(smooth(hull(self.at(points)), steps=3), shade(self.skin, 0.9))
        inner = self.at(np.array([[x * 1.04, 0.06, -0.03]]))[0]
        self.canvas.circle(inner, 0.03 * self.unit, shade(self.skin, 0.76))

    def cheeks(self) -> None:
        for side in SIDES:
            if (self.posed.head @ np.array([side * 0.65, 0, 0.75]))[2] > 0.25:
                self.canvas.polygon(self.at(_cheek(self.identity, side)), mix(self.skin, (236, 92, 92), 0.15))

    def nose(self) -> None:
        face, canvas, u = self.face, self.canvas, self.unit
        # The side away from the light, which comes from the upper left, then the base and the tip.
        side = np.array([face[27], face[29] * 0.5 + face[30] * 0.5, face[34], face[35], (face[29] + face[35]) / 2])
        canvas.polygon(smooth(side, steps=3), shade(self.skin, 0.86))
        base = np.array([face[31], (face[32] + face[33]) / 2, face[33], (face[34] + face[33]) / 2, face[35]])
        canvas.line(smooth(base, False), 0.022 * u, shade(self.skin, 0.66))
        canvas.circle(face[30], 0.034 * u, mix(self.skin, (255, 232, 212), 0.28))

    def mouth(self) -> None:
        face, canvas, opening = self.face, self.canvas, self.posed.state.face[2]
        lip = mix(mix(self.skin, (196, 52, 72), 0.45 + 0.35 * self.identity.lip), (120, 30, 40), 0.12)
        canvas.polygon(smooth(face[48:60], steps=3), lip)
        if opening <= 0.06:
            canvas.line(face[60:65], 0.014 * self.unit, shade(lip, 0.55))
            return
        canvas.polygon(smooth(face[60:68], steps=3), _MOUTH)
        if opening > 0.2:
            low = face[67:68] * 0.5 + face[65:66] * 0.5
            back = low * 0.45 + face[66:67] * 0.1 + 0.45 * face[61:64].mean(0)
            canvas.polygon(smooth(np.concatenate([face[65:68], back]), steps=3), (206, 92, 100))
        top, bottom = face[60:65] * 0.9 + face[66:67] * 0.1, face[63:60:-1] * 0.6 + face[65:68] * 0.4
        canvas.polygon(np.concatenate([top, bottom]), (250, 248, 244))

    def eye(self, side: int, start: int) -> None:
        if self.posed.face_normals_z[start : start + 6].mean() < 0.05:
            return
        points, u, state = self.face[start : start + 6], self.unit, self.posed.state.face
        if state[side] < 0.85:
            centre = points.mean(0) + state[6:8] * np.array([0.024, 0.012]) * u
            size = 0.05 * u * self.identity.eye_size

            def paint(ball: Canvas) -> None:
                ball.circle(centre, size, self.identity.eye_colour)
                ball.circle(centre, size * 0.55, (24, 20, 26))
                ball.circle(centre + np.array([-0.35, -0.4]) * size, size * 0.3, (255, 255, 255))

            self.canvas.inside(smooth(points, steps=4), _WHITE, paint)
        self.canvas.line(smooth(points[:4], False), 0.021 * u, _LINE)

    def brows(self) -> None:
        colour = shade(self.hair.colour, 0.72) if self.identity.hair_colour != "white" else (176, 170, 168)
        if self.identity.hair_style == "bald":
            colour = shade(self.skin, 0.45)
        for start in (17, 22):
            if self.posed.face_normals_z[start : start + 5].mean() > 0.05:
                thick = 0.036 * self.identity.brow_thickness * self.unit
                self.canvas.line(smooth(self.face[start : start + 5], False), thick, colour)

    def glasses(self) -> None:
        u = self.unit
        for side in SIDES:
            if side * self.turn < 0.1:
                end = side * 0.385 * self.identity.face_width
                self.canvas.line(self.at(np.array([[side * 0.3, 0.03, 0.4], [end, 0.04, -0.02]])), 0.026 * u, _FRAME)
        for rim in _rims(self.identity):
            self.canvas.line(self.at(rim), 0.028 * u, _FRAME)
        self.canvas.line(self.at(np.array([[-0.04, 0.03, 0.48], [0.04, 0.03, 0.48]])), 0.028 * u, _FRAME)

    def beard(self) -> None:
        outline = np.concatenate([self.face[1:16], self.at(_beard_top(self.identity))])
        self.canvas.polygon(outline, self.hair.colour)
        middle = self.face[48:60].mean(0)
        mouth = (smooth(self.face[48:60]) - middle) * np.array([1.12, 1.5]) + middle
        self.canvas.polygon(mouth, mix(self.hair.colour, self.skin, 0.25))
