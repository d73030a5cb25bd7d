"""Edits of one pose: what an animator does with a pose editor, as functions of a few numbers.

Every edit changes the points of a `Puppet` in place and leaves all others as they are; at the neutral value of its
amount it changes nothing. Left and right are the person's own.

Dimensions: K = 128 keypoints. Coordinates: x to the right, y down, in one unit along both axes, of a square frame its
side. Angles in degrees.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from src.common.errors import UserError
from src.pose.head import HEAD, HeadPose, fit_head, turn_points
from src.pose.keypoints import BODY_NAMES, PARTS, PoseSequence

Side = Literal["left", "right"]
FACE, HANDS = PARTS["face"].start, {"left": PARTS["left_hand"], "right": PARTS["right_hand"]}
NECK = BODY_NAMES.index("neck")
# Eye corners, then pairs of upper and lower lid (iBUG numbers).
_LIDS = {"right": ((37, 41), (38, 40)), "left": ((43, 47), (44, 46))}
# The upper lid makes most of the way.
_UPPER_LID_SHARE = 0.75
_MOUTH = np.arange(48, 68)
_MOUTH_CORNERS = (48, 54)
_UPPER_LIP, _LOWER_LIP = (49, 50, 51, 52, 53, 61, 62, 63), (55, 56, 57, 58, 59, 65, 66, 67)
# Fractions of an opening: the upper lip gives a little, the jaw follows the lower lip, most at the chin.
_UPPER_LIP_SHARE = 0.2
_JAW_SHARES = dict(zip(range(4, 13), (0.1, 0.3, 0.55, 0.75, 0.8, 0.75, 0.55, 0.3, 0.1), strict=True))
_WIDEST_OPENING = 0.6
_SMILE_OUT, _SMILE_UP = 0.12, 0.14
_KNEE_LIFT = np.radians(55)


@dataclass
class Puppet:
    """One pose under edit.

    Attributes:
        xy: (K, 2) float64.
        mask: (K,) bool, which points are seen; edits ask for those that they need.
        frame: (2,) width and height of the frame in the unit of the coordinates.
    """

    xy: np.ndarray
    mask: np.ndarray
    frame: np.ndarray

    @staticmethod
    def of(poses: PoseSequence, index: int, frame: tuple[float, float] = (1.0, 1.0)) -> "Puppet":
        """A copy of the pose at an index."""
        return Puppet(poses.xy[index].astype(np.float64), poses.mask[index].copy(), np.array(frame))

    def need(self, *points: int) -> None:
        """Raise UserError unless all these keypoints are seen."""
        missing = [_name(point) for point in points if not self.mask[point]]
        if missing:
            raise UserError(
                f"the edit needs the {', '.join(missing)}, not seen in the start pose: choose another frame"
            )

    def rotate(self, points: np.ndarray | list[int], centre: np.ndarray, radians: float) -> None:
        """Turn points about a centre, from the picture's x axis towards its y axis: clockwise on the screen."""
        cos, sin = np.cos(radians), np.sin(radians)
        self.xy[points] = centre + (self.xy[points] - centre) @ np.array([[cos, sin], [-sin, cos]])


def _name(point: int) -> str:
    if point < FACE:
        return BODY_NAMES[point].replace("_", " ")
    part = next(name for name, points in PARTS.items() if points.start <= point < points.stop)
    return f"{part.replace('_', ' ')} point {point - PARTS[part].start}"


def arm(side: Side) -> tuple[int, int, int]:
    """Indices of shoulder, elbow and wrist."""
    shoulder = BODY_NAMES.index(f"{side}_shoulder")
    return shoulder, shoulder + 1, shoulder + 2


def leg(side: Side) -> tuple[int, int, int]:
    """Indices of hip, knee and ankle."""
    hip = BODY_NAMES.index(f"{side}_hip")
    return hip, hip + 1, hip + 2


def blink(puppet: Puppet, degree: float, *, side: Side) -> None:
    """Close an eye: its aspect ratio (Soukupová and Čech, 2016) falls to (1 - degree) of what it was."""
    lids = _LIDS[side]
    puppet.need(*(FACE + point for pair in lids for point in pair))
    for upper, lower in lids:
        pair = [FACE + upper, FACE + lower]
        top, bottom = puppet.xy[pair]
        meeting = top + _UPPER_LID_SHARE * (bottom - top)
        puppet.xy[pair] = meeting + (1 - degree) * (puppet.xy[pair] - meeting)


def open_mouth(puppet: Puppet, degree: float) -> None:
    """Part the lips by `degree` times 0.6 of the mouth's width, and let the jaw follow."""
    down, width = _mouth_frame(puppet)
    drop = degree * _WIDEST_OPENING * width * down
    for points, share in ((_UPPER_LIP, -_UPPER_LIP_SHARE), (_LOWER_LIP, 1 - _UPPER_LIP_SHARE)):
        puppet.xy[FACE + np.array(points)] += share * drop
    for point, share in _JAW_SHARES.items():
        puppet.xy[FACE + point] += share * drop


def smile(puppet: Puppet, degree: float) -> None:
    """Draw the corners of the mouth outwards and up; a negative degree draws them down."""
    down, width = _mouth_frame(puppet)
    corners = puppet.xy[[FACE + point for point in _MOUTH_CORNERS]]
    across = (corners[1] - corners[0]) / width
    lips = FACE + _MOUTH
    # -1 at the right corner, 1 at the left one; the middle of the lips stays.
    position = (puppet.xy[lips] - corners.mean(0)) @ across / (width / 2)
    out = _SMILE_OUT * degree * position
    up = _SMILE_UP * degree * position**2
    puppet.xy[lips] += width * (out[:, None] * across - up[:, None] * down)


def _mouth_frame(puppet: Puppet) -> tuple[np.ndarray, float]:
    """Direction from the brow to the chin, of length one, and the width of the mouth."""
    puppet.need(*(FACE + _MOUTH))
    right, left = (puppet.xy[FACE + point] for point in _MOUTH_CORNERS)
    width = float(np.linalg.norm(left - right))
    return _fitted(puppet).rotation[:2, 1], width


def _fitted(puppet: Puppet) -> HeadPose:
    pose = fit_head(puppet.xy[HEAD], puppet.mask[HEAD])
    if pose is None:
        raise UserError("the edit needs the face, which is not seen in the start pose: choose another frame")
    return pose


def turn_head(puppet: Puppet, degrees: float, *, side: Side) -> None:
    """Turn the head to a side, in depth (`src.pose.head`); negative: to the other."""
    _turn(puppet, yaw=_leftwards(side, degrees))


def tilt_head(puppet: Puppet, degrees: float, *, side: Side) -> None:
    """Tilt the head to a side; negative: to the other."""
    _turn(puppet, roll=_leftwards(side, degrees))


def nod(puppet: Puppet, degrees: float) -> None:
    """Look down, in depth; negative: up."""
    _turn(puppet, pitch=float(np.radians(degrees)))


def _leftwards(side: Side, degrees: float) -> float:
    return float(np.radians(degrees)) * (1 if side == "left" else -1)


def _turn(puppet: Puppet, *, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> None:
    pose = _fitted(puppet)
    # Rounding could hide an ear at zero degrees.
    if yaw or pitch or roll:
        angles = {"yaw": yaw, "pitch": pitch, "roll": roll}
        puppet.xy[HEAD], puppet.mask[HEAD] = turn_points(puppet.xy[HEAD], puppet.mask[HEAD], pose, **angles)


def raise_arm(puppet: Puppet, degrees: float, *, side: Side) -> None:
    """Turn the whole arm about the shoulder, outwards and up; negative: back down."""
    shoulder, elbow, wrist = arm(side)
    puppet.need(shoulder, elbow)
    puppet.rotate([elbow, wrist, *_hand(side)], puppet.xy[shoulder].copy(), -_leftwards(side, degrees))


def bend_arm(puppet: Puppet, degrees: float, *, side: Side) -> None:
    """Turn forearm and hand about the elbow, outwards and up from a hanging arm; negative: the other way."""
    _, elbow, wrist = arm(side)
    puppet.need(elbow, wrist)
    puppet.rotate([wrist, *_hand(side)], puppet.xy[elbow].copy(), -_leftwards(side, degrees))


def pose_arm(puppet: Puppet, amount: float, *, side: Side, upper: float, lower: float) -> None:
    """Bring the arm's bones from where they are (amount 0) to given directions (1), by the shorter way.

    Args:
        upper, lower: directions of upper arm and forearm in the picture: 0 hangs down, 90 points outwards, 180 up.
    """
    shoulder, elbow, wrist = arm(side)
    puppet.need(shoulder, elbow, wrist)
    sign = 1 if side == "left" else -1
    for (start, end), wanted, turn in (((shoulder, elbow), upper, raise_arm), ((elbow, wrist), lower, bend_arm)):
        x, y = puppet.xy[end] - puppet.xy[start]
        missing = (wanted - np.degrees(np.arctan2(sign * x, y)) + 180) % 360 - 180
        # The forearm keeps its own direction while the upper arm moves, or the two turns would add up.
        turn(puppet, amount * missing, side=side)
        if turn is raise_arm:
            bend_arm(puppet, -amount * missing, side=side)


def _hand(side: Side) -> list[int]:
    return list(range(HANDS[side].start, HANDS[side].stop))


def sway(puppet: Puppet, degrees: float) -> None:
    """Lean everything above the hips to the person's left, about the middle of the hips.

    Where no hips are seen, the middle is taken 2.5 half shoulder widths below the neck.
    """
    hips = [leg(side)[0] for side in ("right", "left")]
    below = [point for side in ("right", "left") for point in leg(side)]
    if puppet.mask[hips].all():
        centre = puppet.xy[hips].mean(0)
    else:
        shoulders = [arm(side)[0] for side in ("right", "left")]
        puppet.need(NECK, *shoulders)
        width = np.linalg.norm(np.subtract(*puppet.xy[shoulders]))
        centre = puppet.xy[NECK] + (0, 1.25 * width)
    above = np.setdiff1d(np.arange(len(puppet.xy)), below)
    puppet.rotate(above, centre, np.radians(degrees))


def walk(puppet: Puppet, steps: float, *, height: float = 1.0) -> None:
    """Walk on the spot: whole numbers of `steps` stand on both feet, between them one knee is up.

    Seen from the front, a lifted thigh points to the viewer and looks shorter, as does the shank behind it: bones
    keep their length in depth, not in the picture. The first step is the right leg's.
    """
    side: Side = "right" if int(np.floor(steps)) % 2 == 0 else "left"
    hip, knee, ankle = leg(side)
    puppet.need(hip, knee, ankle)
    lift = _KNEE_LIFT * height * np.sin(np.pi * (steps - np.floor(steps)))
    thigh, shank = puppet.xy[knee] - puppet.xy[hip], puppet.xy[ankle] - puppet.xy[knee]
    puppet.xy[knee] += (np.cos(lift) - 1) * thigh
    puppet.xy[ankle] += (np.cos(lift) - 1) * thigh + (np.cos(0.6 * lift) - 1) * shank


def translate(puppet: Puppet, amount: float, *, x: float, y: float) -> None:
    """Move the whole person by `amount` times (x, y) units of the frame."""
    puppet.xy += amount * puppet.frame * (x, y)


def zoom(puppet: Puppet, factor: float) -> None:
    """Scale the whole person about the middle of the frame."""
    if factor != 1:
        puppet.xy[:] = puppet.frame / 2 + factor * (puppet.xy - puppet.frame / 2)
