"""Drawing of a posed person: torso, arms, hands, legs and head, in order of depth."""

import cv2
import numpy as np

from src.people.body import HAND_LENGTH, SIDES, Posed, magnification
from src.people.canvas import Canvas, hull, mix, shade, smooth
from src.people.head import HeadPainter
from src.people.identity import CLOTH_COLOURS, Colour
from src.people.scene import background

# Depth, in head heights against the neck, at which an arm passes behind the torso.
ARM_BEHIND = -0.22
_NECKLINES = {
    "round": np.array([[-0.18, -0.09, 0], [-0.12, 0.08, 0.16], [0, 0.15, 0.16], [0.12, 0.08, 0.16], [0.18, -0.09, 0]]),
    "v": np.array([[-0.18, -0.09, 0], [-0.1, 0.1, 0.16], [0, 0.3, 0.16], [0.1, 0.1, 0.16], [0.18, -0.09, 0]]),
}
_NECKLINES["collar"] = _NECKLINES["round"]


class PersonPainter:
    """Paints one posed person over a room."""

    def __init__(self, posed: Posed, size: int) -> None:
        identity = posed.identity
        self.posed, self.identity = posed, identity
        image = background(identity, posed.state.kind, size).copy()
        self.canvas = Canvas(image, len(image), np.zeros(2))
        self.unit = posed.scale
        self.shirt = CLOTH_COLOURS[identity.shirt_colour]
        self.second = CLOTH_COLOURS[identity.second_colour]
        self.body = posed.project(posed.body)
        self.hands = posed.project(posed.hands)
        self.head = HeadPainter(self.canvas, posed)

    def paint(self, size: int) -> np.ndarray:
        p = self.posed
        depth = [(p.body[3 + 3 * i, 2] * 0.4 + p.body[4 + 3 * i, 2] * 0.6) for i in (0, 1)]
        behind = [d < ARM_BEHIND for d in depth]
        dance = p.state.kind == "dance"
        if dance:
            self.shadow()
        self.head.hair.back()
        for side in (0, 1):
            if behind[side]:
                self.arm(side)
        if dance:
            knees = [p.body[9 + 3 * i, 2] for i in (0, 1)]
            for side in (0, 1) if knees[0] < knees[1] else (1, 0):
                self.leg(side, 1 - 0.14 * float(np.clip(0.5 + knees[1 - side] - knees[side], 0, 1)))
            if self.identity.legwear == "skirt":
                self.skirt()
        self.torso()
        self.head.head()
        for side in (0, 1) if depth[0] < depth[1] else (1, 0):
            if not behind[side]:
                self.arm(side)
        return cv2.resize(self.canvas.image, (size, size), interpolation=cv2.INTER_AREA)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Points in the frame of the torso to the picture."""
        return self.posed.project(points @ self.posed.torso.T)

    def shadow(self) -> None:
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        x = self.body[[10, 13], 0]
        y = 0.93 + self.posed.state.root[1]
        width = 0.09 + abs(x[0] - x[1]) / 2
        ring = np.stack([x.mean() + width * np.cos(t), y + 0.022 * np.sin(t)], -1)
        self.canvas.polygon(ring, mix(self.identity.floor, (60, 50, 70), 0.42))

    def torso(self) -> None:
        """Shirt, neck in the shadow of the chin, and collar."""
        identity, p, u, canvas = self.identity, self.posed, self.unit, self.canvas
        build, wide = identity.build, 0.61 * identity.shoulders
        waist = (0.44 + 0.12 * (wide - 0.61)) * (0.55 + 0.45 * build)
        canvas.inside(self.shirt_outline(wide, waist), self.shirt, lambda cloth: self.pattern(cloth, wide, waist))
        opening = self.at(_NECKLINES[identity.collar] * np.array([build, 1, 1]))
        opening = opening if identity.collar == "v" else smooth(opening, False)
        canvas.line(opening, 0.06 * u, shade(self.shirt, 0.78))
        canvas.polygon(opening, identity.skin)
        head = p.project(p.head_points(np.array([[-0.185, 0.2, -0.1], [0.185, 0.2, -0.1]])))
        chin = p.project(p.head_points(np.array([[-0.19, 0.38, 0], [0.19, 0.38, 0]])))
        low = self.at(np.array([[0.2 * build, 0.04, 0.05], [-0.2 * build, 0.04, 0.05]]))
        canvas.polygon(np.concatenate([head, low]), identity.skin)
        canvas.polygon(np.concatenate([head, chin[::-1]]), shade(identity.skin, 0.9))
        shadow = np.concatenate([head[:1], chin[:1], self.at(np.array([[0.02, 0.06, 0.1]])), chin[1:], head[1:]])
        canvas.polygon(smooth(shadow, steps=3), shade(identity.skin, 0.78))
        if identity.collar == "collar":
            colour = shade(self.shirt, 0.84) if sum(self.shirt) > 250 else shade(self.shirt, 1.2)
            for side in SIDES:
                flap = np.array([[0.22, -0.14, 0.02], [0.03, 0.14, 0.16], [0.2, 0.22, 0.16], [0.32, -0.02, 0.05]])
                canvas.polygon(self.at(flap * np.array([side, 1, 1])), colour)

    def shirt_outline(self, wide: float, waist: float) -> np.ndarray:
        """(N, 2) from the neck down the person's right side, along the hem and up the left."""
        build, u = self.identity.build, self.unit
        r = 0.15 * build
        right = [[-0.2, -0.1], [-0.36, -0.06], [-wide * 0.9, -r * 0.6], [-wide - r * 0.55, 0.14], [-wide * 0.86, 0.42]]
        right = np.pad(np.array([*right, [-waist, 0.95]]), ((0, 0), (0, 1)))
        left = right * np.array([-1, 1, 1])
        hips = self.body[[8, 11]]
        axis = (hips[1] - hips[0]) / max(float(np.hypot(*(hips[1] - hips[0]))), 1e-6)
        reach = axis * 0.2 * build * u * 0.8
        hem = np.array([hips[0] - reach, hips[1] + reach]) + np.array([0, 0.06 * u])
        return smooth(np.concatenate([self.at(right), hem, self.at(left)[::-1]]), False, 3)

    def pattern(self, cloth: Canvas, wide: float, waist: float) -> None:
        """Stripes, dots, or the shade along the side away from the light and a second colour below."""
        kind = self.identity.shirt_pattern
        if kind == "striped":
            for y in np.arange(0.3, 2.0, 0.3):
                x = np.linspace(-1, 1, 7)
                top = np.column_stack([x, y + 0.05 * (1 - x**2), np.zeros(7)])
                band = np.concatenate([top, top[::-1] + np.array([0, 0.13, 0])])
                cloth.polygon(self.at(band), self.second)
        elif kind == "dotted":
            for i, y in enumerate(np.arange(0.22, 1.9, 0.25)):
                x = np.arange(-0.75, 0.8, 0.3) + 0.15 * (i % 2)
                for centre in self.at(np.column_stack([x, np.full(len(x), y), np.zeros(len(x))])):
                    cloth.circle(centre, 0.058 * self.unit, self.second)
        else:
            side = [[wide * 0.66, 0.3], [wide * 1.5, 0.2], [wide * 1.5, 1.8], [waist * 0.7, 1.7], [waist * 0.62, 0.9]]
            colour = shade(self.shirt, 0.86 if kind == "plain" else 0.9)
            cloth.polygon(smooth(self.at(np.pad(np.array(side), ((0, 0), (0, 1))))), colour)
            if kind == "two-tone":
                cloth.polygon(self.at(np.array([[-1, 0.62, 0], [1, 0.62, 0], [1, 2.2, 0], [-1, 2.2, 0]])), self.second)

    def arm(self, side: int) -> None:
        identity, u, canvas = self.identity, self.unit, self.canvas
        shoulder, elbow, wrist = self.body[2 + 3 * side : 5 + 3 * side]
        b = identity.build
        near = magnification(self.posed.body[2 + 3 * side : 5 + 3 * side, 2])
        rs, re, rw = np.array([0.17 * b, 0.132 * b, 0.092 * (0.5 + 0.5 * b)]) * u * near
        sleeve, skin = shade(self.shirt, 0.94), identity.skin
        edge = shade(self.shirt, 0.79)
        wrist_end = wrist + (self.hands[side, 9] - wrist) * 0.12
        if identity.long_sleeves:
            cuff = elbow + (wrist - elbow) * 0.9
            canvas.taper(cuff, wrist_end, rw * 0.95, rw * 0.95, skin)
            self.cloth_limb(shoulder, elbow, cuff, rs, re, rw * 1.2, edge, sleeve)
            canvas.taper(elbow + (wrist - elbow) * 0.84, cuff, rw * 1.28, rw * 1.26, edge)
        else:
            canvas.taper(shoulder, elbow, rs * 0.72, re * 0.86, skin)
            canvas.taper(elbow, wrist_end, re * 0.86, rw, skin)
            end = shoulder + (elbow - shoulder) * 0.58
            canvas.taper(shoulder, end, rs * 1.04, rs * 0.98, edge)
            canvas.taper(shoulder, end - (elbow - shoulder) * 0.05, rs, rs * 0.96, sleeve)
        self.hand(side, skin)

    def cloth_limb(
        self, a: np.ndarray, b: np.ndarray, c: np.ndarray, ra: float, rb: float, rc: float, edge: Colour, fill: Colour
    ) -> None:
        grow = 0.022 * self.unit
        self.canvas.taper(a, b, ra * 0.99, rb + grow, edge)
        self.canvas.taper(b, c, rb + grow, rc + grow, edge)
        self.canvas.taper(a, b, ra, rb, fill)
        self.canvas.taper(b, c, rb, rc, fill)

    def hand(self, side: int, skin: Colour) -> None:
        points, canvas = self.hands[side], self.canvas
        world = self.posed.hands[side]
        u = self.unit * self.identity.head * HAND_LENGTH * magnification(world[9, 2])
        line = shade(skin, 0.72)
        palm_z = world[[0, 5, 17], 2].mean()
        order = sorted(range(5), key=lambda f: world[1 + 4 * f : 5 + 4 * f, 2].mean())
        under = [f for f in order if world[2 + 4 * f : 5 + 4 * f, 2].mean() < palm_z]
        for finger in under:
            self.finger(points, finger, u, skin, line)
        pad = 0.075 * u
        centre = points[[0, 5, 17]].mean(0)
        wrist = points[0]
        across = points[5] - points[17]
        root = np.array([wrist + across * 0.28, wrist - across * 0.28])
        outer = np.concatenate([points[[1, 2, 5, 9, 13, 17]], root])
        outward = outer - centre
        outer = outer + outward / np.maximum(np.hypot(*outward.T)[:, None], 1e-6) * pad * 0.7
        canvas.polygon(smooth(hull(outer), steps=3), skin)
        for finger in order:
            if finger not in under:
                self.finger(points, finger, u, skin, line)

    def finger(self, points: np.ndarray, finger: int, u: float, skin: Colour, line: Colour) -> None:
        chain = points[1 + 4 * finger : 5 + 4 * finger]
        width = (0.15 if finger == 0 else 0.125) * u
        start = chain[1:] if finger == 0 else chain
        self.canvas.line(start, width + 0.05 * u, line)
        self.canvas.line(chain if finger == 0 else start, width, skin)

    def leg(self, side: int, tone: float) -> None:
        identity, u, canvas = self.identity, self.unit, self.canvas
        hip, knee, ankle = self.body[8 + 3 * side : 11 + 3 * side]
        b = identity.build
        toe = self.posed.project(self.posed.feet[side])
        cloth = shade(CLOTH_COLOURS[identity.leg_colour], tone)
        shoe = shade(CLOTH_COLOURS[identity.shoe_colour], tone)
        down = np.array([0, 0.05 * u])
        if identity.legwear == "skirt":
            skin = shade(identity.skin, tone)
            canvas.taper(hip, knee, 0.21 * b * u, 0.14 * b * u, skin)
            canvas.taper(knee, ankle, 0.14 * b * u, 0.09 * b * u, skin)
            canvas.taper(ankle + down, toe + down, 0.125 * u, 0.1 * u, shoe)
        else:
            canvas.taper(ankle + down, toe + down, 0.125 * u, 0.1 * u, shoe)
            self.cloth_limb(hip, knee, ankle, 0.25 * b * u, 0.18 * b * u, 0.135 * b * u, shade(cloth, 0.8), cloth)

    def skirt(self) -> None:
        identity, u, canvas = self.identity, self.unit, self.canvas
        cloth = CLOTH_COLOURS[identity.leg_colour]
        b = identity.build
        hips, knees = self.body[[8, 11]], self.body[[9, 12]]
        axis = np.array([0.26 * b * u, 0])
        top = np.array([hips[0] - axis, hips[1] + axis]) - np.array([0, 0.2 * u])
        ends = hips + (knees - hips) * 0.72
        order = ends[:, 0].argsort()
        hem = ends[order] + np.array([[-0.32 * u, 0], [0.32 * u, 0]])
        middle = ends.mean(0) + np.array([0, 0.08 * u])
        canvas.polygon(hull(np.concatenate([top, hem, middle[None]])), cloth)
        canvas.line(np.array([ends.mean(0), hips.mean(0) * 0.5 + ends.mean(0) * 0.5]), 0.04 * u, shade(cloth, 0.82))


def draw(posed: Posed, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB picture of a posed person."""
    return PersonPainter(posed, size).paint(size)
