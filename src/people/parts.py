"""Which part of the body each pixel of a rendered person shows, numbered as DensePose numbers them.

A person that is drawn knows this exactly: every part is painted again, alone over a colour that nothing has, in the
order in which the picture is painted.

Dimensions: F frames, S side of the square picture in pixels.
"""

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from src.people.body import MotionState, Posed, pose_person
from src.people.figure import PersonPainter
from src.people.identity import Colour, Identity
from src.people.motion import sample_motion

TORSO, HEAD = 2, 24
# Of the person's right and left; a limb's parts from the trunk outwards, of each the side that faces the viewer.
HANDS, FEET = (3, 4), (6, 5)
ARMS, LEGS = ((16, 20), (15, 19)), ((9, 13), (10, 14))
_NOTHING = np.array([255, 0, 254], np.uint8)


class _Labelled:
    """A head painter whose two calls from outside are labelled."""

    def __init__(self, painter: "PartPainter") -> None:
        self.painter, self.inner = painter, painter.head
        self.hair = self

    def back(self) -> None:
        self.painter.label(HEAD, self.inner.hair.back)

    def head(self) -> None:
        self.painter.label(HEAD, self.inner.head)


class PartPainter(PersonPainter):
    """Paints as `PersonPainter` does and keeps, for each pixel, the part that was painted last."""

    def __init__(self, posed: Posed, size: int) -> None:
        super().__init__(posed, size)
        self.labels = np.zeros(self.canvas.image.shape[:2], np.uint8)
        self.head = _Labelled(self)

    def label(self, part: int, paint: Callable[[], None]) -> None:
        """Paint something that is one part."""
        self.labels[self._painted(paint)] = part

    def shadow(self) -> None:
        """A shadow is no part of the body."""

    def torso(self) -> None:
        self.label(TORSO, super().torso)

    def arm(self, side: int) -> None:
        # `hand` comes last in an arm, and is a part of its own.
        self._hand: Callable[[], None] = lambda: None
        paint_arm = super().arm
        self._label_limb(ARMS[side], self.body[2 + 3 * side : 5 + 3 * side], lambda: paint_arm(side))
        self.label(HANDS[side], self._hand)

    def hand(self, side: int, skin: Colour) -> None:
        paint_hand = super().hand
        self._hand = lambda: paint_hand(side, skin)

    def leg(self, side: int, tone: float) -> None:
        paint_leg = super().leg
        hip, knee, ankle = self.body[8 + 3 * side : 11 + 3 * side]
        toe = self.posed.project(self.posed.feet[side])
        # A shoe begins above the ankle's point.
        joints = np.array([hip, knee, ankle + 0.1 * (knee - ankle), toe])
        self._label_limb((*LEGS[side], FEET[side]), joints, lambda: paint_leg(side, tone))

    def skirt(self) -> None:
        painted = self._painted(super().skirt)
        middle = (self.body[8, 0] + self.body[11, 0]) / 2
        x = (np.arange(self.labels.shape[1]) + 0.5) / self.labels.shape[1]
        right_is_left_of = self.body[8, 0] <= self.body[11, 0]
        right = np.broadcast_to((x < middle) == right_is_left_of, self.labels.shape)
        for side, half in enumerate((right, ~right)):
            self.labels[painted & half] = LEGS[side][0]

    def _painted(self, paint: Callable[[], None]) -> np.ndarray:
        self.canvas.image[:] = _NOTHING
        paint()
        return (self.canvas.image != _NOTHING).any(-1)

    def _label_limb(self, parts: tuple[int, ...], joints: np.ndarray, paint: Callable[[], None]) -> None:
        """Give each pixel of a limb the part whose bone is nearest.

        Args:
            joints: (parts + 1, 2) ends of the bones in units of the frame.
        """
        painted = self._painted(paint)
        rows, columns = np.nonzero(painted)
        points = (np.column_stack([columns, rows]) + 0.5) / len(self.labels)
        distances = [_to_segment(points, a, b) for a, b in itertools.pairwise(joints)]
        if len(rows):
            self.labels[rows, columns] = np.array(parts, np.uint8)[np.argmin(distances, axis=0)]


def _to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) distance of (N, 2) points to a segment."""
    along = b - a
    t = np.clip((points - a) @ along / max(float(along @ along), 1e-12), 0, 1)
    return np.hypot(*(points - a - t[:, None] * along).T)


def render_parts(identity: Identity, state: MotionState, size: int) -> np.ndarray:
    """(S, S) uint8, 0 the background and 1 to 24 DensePose's parts, of the picture that `render_pose` draws."""
    painter = PartPainter(pose_person(identity, state), size)
    painter.paint(size)
    return cv2.resize(painter.labels, (size, size), interpolation=cv2.INTER_NEAREST)


def render_clip_parts(identity: Identity, kind: str, num_frames: int, size: int, seed: int) -> np.ndarray:
    """(F, S, S) uint8 of the clip that `render_clip` draws from the same arguments; above 0 is the person's mask."""
    return np.stack([render_parts(identity, state, size) for state in sample_motion(kind, num_frames, seed)])
