"""A depth model of the head, simple enough to fit one drawn face and good enough to turn it.

A generic head of 73 points (68 of the face, then nose, eyes and ears of the body) is fitted to the drawing by scaled
orthographic projection. What the drawing lacks, the depth of each point, comes from that head; what it has, x and y,
is never replaced. So a turn of zero degrees changes nothing, and the person keeps their own face.

Dimensions: P = 73 head points. Coordinates: x to the right of the picture, y down, z towards the viewer.
Angles: yaw turns the face to the right of the picture, pitch down, roll tilts the crown to the right of the picture.
"""

from dataclasses import dataclass

import numpy as np

from src.pose.keypoints import BODY_NAMES, PARTS

# Indices of the head's points among the 128 keypoints: the person's right ear is HEAD[71], the left HEAD[72].
HEAD = np.concatenate(
    [
        np.arange(PARTS["face"].start, PARTS["face"].stop),
        [BODY_NAMES.index(name) for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")],
    ]
)
RIGHT_EAR, LEFT_EAR = 71, 72
MIN_POINTS = 4
_FIT_STEPS = 40

# The person's right half (left in the picture) of an average face, in half widths of the face at the ears, with the
# origin between the ears at the height of the eyes. x and y are rounded means of the 68 iBUG landmarks.
_JAW = (
    *((-1.0, 0.05, 0.0), (-0.98, 0.30, 0.03), (-0.95, 0.55, 0.08), (-0.89, 0.80, 0.18), (-0.78, 1.05, 0.35)),
    *((-0.61, 1.27, 0.58), (-0.42, 1.45, 0.82), (-0.21, 1.57, 1.0), (0.0, 1.62, 1.08)),
)
_BROW = ((-0.83, -0.18, 0.72), (-0.7, -0.29, 0.92), (-0.52, -0.32, 1.06), (-0.34, -0.3, 1.14), (-0.16, -0.23, 1.18))
_BRIDGE = ((0, 0, 1.15), (0, 0.17, 1.28), (0, 0.34, 1.43), (0, 0.52, 1.58))
_NOSTRILS = ((-0.21, 0.64, 1.22), (-0.11, 0.68, 1.3), (0, 0.71, 1.34))
_EYE = (
    *((-0.63, 0.01, 0.82), (-0.52, -0.05, 0.93), (-0.38, -0.05, 1.0)),
    *((-0.26, 0.04, 1.0), (-0.39, 0.06, 0.98), (-0.52, 0.06, 0.92)),
)
_UPPER_LIP = ((-0.4, 0.97, 1.1), (-0.25, 0.91, 1.26), (-0.1, 0.88, 1.35), (0, 0.9, 1.37))
_LOWER_LIP = ((-0.26, 1.11, 1.22), (-0.11, 1.18, 1.29), (0, 1.19, 1.31))
_INNER_UPPER_LIP = ((-0.34, 0.98, 1.12), (-0.105, 0.97, 1.3), (0, 0.98, 1.32))
_INNER_LOWER_LIP = ((-0.105, 1.045, 1.27), (0, 1.055, 1.28))
_BODY_EYE, _BODY_EAR = (-0.445, 0.0, 0.95), (-1.03, 0.15, -0.1)
# The head turns on the neck, behind and below the ears.
PIVOT = np.array([0.0, 0.9, -0.3])


def _mirror(points: tuple) -> list[tuple[float, float, float]]:
    return [(-x, y, z) for x, y, z in reversed(points)]


def _template() -> np.ndarray:
    left_eye = [(-x, y, z) for x, y, z in (_EYE[i] for i in (3, 2, 1, 0, 5, 4))]
    points = [*_JAW, *_mirror(_JAW[:-1]), *_BROW, *_mirror(_BROW), *_BRIDGE, *_NOSTRILS, *_mirror(_NOSTRILS[:-1])]
    points += [*_EYE, *left_eye, *_UPPER_LIP, *_mirror(_UPPER_LIP[:-1]), *_mirror(_LOWER_LIP[1::-1])]
    points += [*reversed(_LOWER_LIP), *_INNER_UPPER_LIP, *_mirror(_INNER_UPPER_LIP[:-1])]
    points += [*_mirror(_INNER_LOWER_LIP[:-1]), *reversed(_INNER_LOWER_LIP)]
    points += [_BRIDGE[3], _BODY_EYE, *_mirror((_BODY_EYE,)), _BODY_EAR, *_mirror((_BODY_EAR,))]
    template = np.array(points, np.float64)
    template.setflags(write=False)
    return template


TEMPLATE_P3 = _template()
# Jaw points are an outline: on the side that turns away they slide forward along the cheek, by so much depth.
_OUTLINE_DEPTH_17 = 0.55 * np.clip(np.abs(TEMPLATE_P3[:17, 0]) / 0.9, 0, 1)


@dataclass(frozen=True, eq=False)
class HeadPose:
    """Scaled orthographic camera of one head: `xy = offset + scale * (rotation @ point)[:2]`.

    Attributes:
        rotation: (3, 3), head to picture.
        scale: half the width of the head at the ears, in units of the frame.
        offset: (2,) where the point between the ears lies, in units of the frame.
    """

    rotation: np.ndarray
    scale: float
    offset: np.ndarray

    def depths(self) -> np.ndarray:
        """(P,) depth of each point of the generic head relative to that between the ears, in units of the frame."""
        return self.scale * (TEMPLATE_P3 @ self.rotation[2])

    def project(self, shape_P3: np.ndarray) -> np.ndarray:
        """(P, 3) head coordinates to (P, 2) units of the frame."""
        return self.offset + self.scale * (shape_P3 @ self.rotation[:2].T)

    def unproject(self, xy_P2: np.ndarray) -> np.ndarray:
        """(P, 2) in the picture to (P, 3) head coordinates, each at the generic head's depth."""
        lifted = np.concatenate([(xy_P2 - self.offset) / self.scale, (self.depths() / self.scale)[:, None]], 1)
        return lifted @ self.rotation


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) rotation by angles in radians, applied in the order pitch, yaw, roll."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return around_z @ around_y @ around_x


def fit_head(xy_P2: np.ndarray, mask_P: np.ndarray) -> HeadPose | None:
    """Least squares fit of the generic head to the seen points.

    Alternates between completing the seen points with the current depths and aligning the head to them (Procrustes),
    which never increases the squared error of the drawing.

    Args:
        xy_P2: (P, 2) head points in units of a square frame, in the order of `HEAD`.
        mask_P: (P,) which are seen.

    Returns:
        The head's pose, or None where fewer than `MIN_POINTS` points are seen or all of them coincide.
    """
    if mask_P.sum() < MIN_POINTS:
        return None
    seen_N2, shape_N3 = np.asarray(xy_P2, np.float64)[mask_P], TEMPLATE_P3[mask_P]
    shape_centre = shape_N3.mean(0)
    shape_N3 = shape_N3 - shape_centre
    picture_centre = seen_N2.mean(0)
    seen_N2 = seen_N2 - picture_centre
    if np.square(seen_N2).sum() < 1e-16:
        return None
    turn = np.eye(3)
    scale = float(np.sqrt(np.square(seen_N2).sum() / np.square(shape_N3[:, :2]).sum()))
    for _ in range(_FIT_STEPS):
        lifted_N3 = np.concatenate([seen_N2, scale * (shape_N3 @ turn[2])[:, None]], 1)
        left, _, right = np.linalg.svd(lifted_N3.T @ shape_N3)
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
        turn = (left * sign) @ right
        flat_N2 = shape_N3 @ turn[:2].T
        scale = float((flat_N2 * seen_N2).sum() / np.square(flat_N2).sum())
    return HeadPose(turn, scale, picture_centre - scale * (turn[:2] @ shape_centre))


def turn_points(
    xy_P2: np.ndarray, mask_P: np.ndarray, pose: HeadPose, *, yaw: float, pitch: float, roll: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a head about its neck, around its own axes.

    Args:
        xy_P2: (P, 2) head points; mask_P: (P,) which are seen; pose: their `fit_head`.
        yaw, pitch, roll: in radians, as this module defines them.

    Returns:
        (P, 2) the points after the turn, equal to `xy_P2` at zero, and (P,) which of them are seen: an ear that the
        turn brings more than 30 degrees behind the head is not.
    """
    turn = pose.rotation @ rotation(yaw, pitch, roll) @ pose.rotation.T
    depth_P = pose.depths()
    side = np.sign(TEMPLATE_P3[:17, 0])
    away = side * np.sin(yaw) > 0
    depth_P[:17] += pose.scale * np.where(away, _OUTLINE_DEPTH_17, 0) * pose.rotation[2, 2]
    pivot = pose.scale * (pose.rotation @ PIVOT)
    relative_P3 = np.concatenate([xy_P2 - (pose.offset + pivot[:2]), (depth_P - pivot[2])[:, None]], 1)
    moved_P2 = xy_P2 + relative_P3 @ (turn - np.eye(3))[:2].T
    seen_P = mask_P.copy()
    for ear, sign in ((RIGHT_EAR, -1), (LEFT_EAR, 1)):
        before, after = sign * pose.rotation[2, 0], sign * (turn @ pose.rotation)[2, 0]
        seen_P[ear] &= not (after < -0.5 and after < before)
    return moved_P2, seen_P
