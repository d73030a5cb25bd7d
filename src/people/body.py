"""Three-dimensional body, face and hand model of the rendered people.

Coordinates: x to the right of the picture, y down, z towards the viewer, in head heights of an average person.
Sides: 0 is the person's right (left in the picture), 1 the person's left.
"""

from dataclasses import dataclass

import numpy as np

from src.people.identity import Identity
from src.pose.head import rotation

SIDES = (-1.0, 1.0)
FRAMING = {"talk": (0.32, 0.585), "dance": (0.147, 0.925)}  # scale, y of the neck (talk) or of the ground (dance)
VIEW_DISTANCE = 14.0
HAND_LENGTH = 0.66


@dataclass(frozen=True, eq=False)
class MotionState:
    """One moment of a motion, free of the proportions of whoever performs it.

    Directions are unit vectors (outwards from the body, down, towards the viewer) in the frame of the torso;
    "outwards" is mirrored between the sides.

    Attributes:
        kind: "talk" or "dance", which sets the framing.
        root: (3,) shift right and down in units of the frame (for dance: down from standing), and scale factor.
        torso, head: (3,) yaw, pitch, roll in radians; positive yaw turns to the right of the picture, positive
            pitch looks down, positive roll tilts to the right of the picture.
        hips: (2,) shift to the right in head heights, roll in radians.
        arms, legs: (2, 2, 3) directions of side x (upper, lower) bone.
        hands: (2, 2, 3) directions of side x (palm towards fingers, normal of the palm).
        fingers: (2, 6) of each side: curl of thumb to little finger in [0, 1], and spread in [0, 1].
        face: (8,) closure of right and left eye [0, 1], mouth open [0, 1], mouth width [-1, 1], smile [-1, 1],
            brow raise [-1, 1], gaze right and down [-1, 1].
    """

    kind: str
    root: np.ndarray
    torso: np.ndarray
    head: np.ndarray
    hips: np.ndarray
    arms: np.ndarray
    legs: np.ndarray
    hands: np.ndarray
    fingers: np.ndarray
    face: np.ndarray


@dataclass(frozen=True, eq=False)
class Posed:
    """A person in a pose: 3-D points and the camera.

    Attributes:
        body: (18, 3), face: (68, 3), hands: (2, 21, 3) of the person's right and left hand, feet: (2, 3) tips of
            the shoes.
        face_normals_z: (68,) z of the outward normal of each face point after turning the head.
        head: (3, 3) rotation of the head; torso: (3, 3) rotation of the torso; centre: (3,) of the head.
        scale, offset: the camera, see `project`.
    """

    identity: Identity
    state: MotionState
    body: np.ndarray
    face: np.ndarray
    face_normals_z: np.ndarray
    hands: np.ndarray
    feet: np.ndarray
    head: np.ndarray
    torso: np.ndarray
    centre: np.ndarray
    scale: float
    offset: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world to (..., 2) in units of the frame."""
        return self.offset + self.scale * points[..., :2] * magnification(points[..., 2:])

    def head_points(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) in the frame of the head to (N, 3) world."""
        return self.centre + self.identity.head * (points @ self.head.T)


def magnification(z: np.ndarray) -> np.ndarray:
    """How much larger a thing at depth z looks than one at the depth of the neck."""
    return 1 / (1 - z / VIEW_DISTANCE)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one along the last axis."""
    return vectors / np.sqrt((vectors * vectors).sum(-1, keepdims=True))


_JAW_Y = np.array([0, 0.1, 0.2, 0.3, 0.38, 0.44, 0.475, 0.495, 0.5])
_JAW_W = np.array([1, 0.985, 0.93, 0.82, 0.66, 0.47, 0.3, 0.13, 0.0])


def half_width(identity: Identity, y: np.ndarray) -> np.ndarray:
    """Half width of the head at height y in [-0.5, 0.5]."""
    upper = np.maximum(1 - np.abs(np.minimum(y, 0) / 0.5) ** 2.3, 0) ** (1 / 2.3)
    jaw = 1 + (identity.jaw - 1) * np.minimum(np.maximum(y / 0.35, 0), 1)
    return 0.365 * identity.face_width * np.where(y < 0, upper, np.interp(y, _JAW_Y, _JAW_W) * jaw)


def surface(identity: Identity, y: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points on the head: height y, angle about the vertical axis (0 in front, positive to the right)."""
    y, angle = np.broadcast_arrays(np.asarray(y, float), np.asarray(angle, float))
    width = half_width(identity, y)
    down = np.maximum(y, 0) / 0.5
    round_top = np.sqrt(np.maximum(1 - np.minimum(y, 0) ** 2 / 0.25, 0))
    centre = 0.3 * down**1.5
    front = (0.44 - 0.05 * down) * round_top - centre
    cos = np.cos(angle)
    return np.stack([width * np.sin(angle), y, centre + np.where(cos > 0, front, 0.5 * round_top) * cos], -1)


def on_face(identity: Identity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points on the front of the head at given x and y."""
    ratio = np.clip(x / np.maximum(half_width(identity, y), 1e-3), -1, 1)
    return surface(identity, y, np.arcsin(ratio))


def _mouth_points(identity: Identity, opening: float, wide: float, smile: float) -> np.ndarray:
    """(20, 3): 12 points around the lips, 8 around the opening."""
    mw = 0.128 * identity.mouth * (1 + 0.16 * smile + 0.22 * wide)
    lip = 0.028 + 0.012 * identity.lip
    gap = 0.105 * opening
    up, low, corner = 0.33 - 0.22 * gap, 0.33 + 0.78 * gap, 0.332 - 0.03 * smile + 0.2 * gap
    f = np.array([0.66, 0.3, 0.0, -0.3, -0.66])
    top = np.array([up - 0.5 * lip, up - lip, up - 0.82 * lip, up - lip, up - 0.5 * lip])
    top = top + 0.18 * (corner - up) * np.abs(f)
    bottom = np.array([low + 0.55 * lip, low + 1.15 * lip, low + 1.3 * lip, low + 1.15 * lip, low + 0.55 * lip])
    bottom = bottom + 0.35 * (corner - low) * np.abs(f)
    outer_x = np.concatenate([[-1], -f, [1], f]) * mw
    outer_y = np.concatenate([[corner], top, [corner], bottom])
    g = np.array([0.5, 0, -0.5])
    inner_top, inner_low = up + 0.4 * (corner - up) * np.abs(g), low + 0.4 * (corner - low) * np.abs(g)
    inner_x = np.concatenate([[-0.86], -g, [0.86], g]) * mw
    inner_y = np.concatenate([[corner], inner_top, [corner], inner_low])
    mouth = on_face(identity, np.concatenate([outer_x, inner_x]), np.concatenate([outer_y, inner_y]))
    mouth[:, 2] += 0.03
    return mouth


def face_points(identity: Identity, face: np.ndarray) -> np.ndarray:
    """(68, 3) iBUG landmarks in the frame of the head, for the expression `MotionState.face`."""
    closed, (opening, wide, smile, brow) = face[:2], face[2:6]
    half = np.array([0, 0.09, 0.18, 0.27, 0.345, 0.405, 0.45, 0.48])
    side = np.full(8, np.pi / 2)
    jaw = np.concatenate(
        [
            surface(identity, half, -side),
            surface(identity, np.array([0.5]), np.array([0.0])),
            surface(identity, half, side)[::-1],
        ]
    )
    jaw[8, 2] = 0.36
    bx = np.array([0.27, 0.225, 0.175, 0.125, 0.075]) * identity.eye_spacing
    by = np.array([-0.08, -0.122, -0.138, -0.132, -0.118]) - 0.04 * brow
    brows = on_face(identity, np.concatenate([-bx, bx[::-1]]), np.concatenate([by, by[::-1]]))
    eyes = []
    for side_, shut in zip(SIDES, closed, strict=True):
        w, h = 0.088 * identity.eye_size, 0.063 * identity.eye_size
        x = side_ * 0.165 * identity.eye_spacing + w * np.array([-1, -0.42, 0.42, 1, 0.42, -0.42])
        top, low = -h * (1 - shut) + 0.018 * shut, 0.72 * h * (1 - shut) + 0.024 * shut
        y = 0.035 + np.array([0.008, top, top, 0.008, low, low])
        eyes.append(on_face(identity, x, y))
    n = identity.nose
    bridge = np.stack([np.zeros(4), [0.03, 0.08, 0.13, 0.13 + 0.06 * n], [0.45, 0.475, 0.51, 0.55]], -1)
    base_x = np.array([-0.072, -0.038, 0, 0.038, 0.072]) * n
    base_y = 0.165 + 0.06 * n + np.array([0, 0.012, 0.018, 0.012, 0])
    base = np.stack([base_x, base_y, [0.44, 0.465, 0.485, 0.465, 0.44]], -1)
    mouth = _mouth_points(identity, opening, wide, smile)
    points = np.concatenate([jaw, brows, bridge, base, *eyes, mouth])
    # The jaw swings down with an open mouth.
    points[:17, 1] += 0.055 * opening * np.clip((points[:17, 1] - 0.2) / 0.3, 0, 1)
    return points


_FINGER_BASE = np.array([[0.52, 0.165], [0.545, 0.055], [0.52, -0.06], [0.465, -0.165]])
_FINGER_LENGTHS = np.array([[0.2, 0.135, 0.105], [0.22, 0.145, 0.11], [0.205, 0.135, 0.105], [0.155, 0.1, 0.09]])
_FLEX = np.cumsum(np.array([1.35, 1.6, 0.9]))
_SPREAD = np.array([0.3, 0.06, -0.16, -0.4])


def hand_points(wrist: np.ndarray, axes: np.ndarray, fingers: np.ndarray, length: float) -> np.ndarray:
    """(21, 3) hand landmarks; axes (3, 3): rows towards the fingers, towards the thumb, normal of the palm."""
    along, thumb, normal = axes
    curl, spread = fingers[1:5], 0.25 + fingers[5]
    base = _FINGER_BASE @ axes[:2]
    angle = spread * _SPREAD * (1 - 0.7 * curl)
    ahead = np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * thumb
    flex = curl[:, None] * _FLEX
    steps = np.cos(flex)[..., None] * ahead[:, None] + np.sin(flex)[..., None] * normal
    joints = base[:, None] + np.cumsum(steps * _FINGER_LENGTHS[..., None], axis=1)
    c = fingers[0]
    thumb_base = 0.13 * along + 0.14 * thumb
    out = 0.95 - 0.35 * c
    t = [
        unit((0.75 + 0.15 * c) * along + (out - 0.75 * c * k) * thumb + (0.15 + 0.75 * c) * normal) for k in (0, 1, 1.9)
    ]
    t = thumb_base + np.cumsum(np.array(t) * np.array([[0.2], [0.16], [0.13]]), axis=0)
    chain = np.concatenate([base[:, None], joints], axis=1).reshape(16, 3)
    return wrist + length * np.concatenate([np.zeros((1, 3)), thumb_base[None], t, chain])


def pose_person(identity: Identity, state: MotionState) -> Posed:
    """Place every joint and landmark of `identity` in `state`; bones keep their lengths in 3-D."""
    torso = rotation(*state.torso)
    spine = torso @ np.array([0, 1.0, 0])
    neck = np.zeros(3)
    shoulder_w, hip_w = 0.61 * identity.shoulders, 0.3 * (0.4 + 0.6 * identity.shoulders)
    body = np.zeros((18, 3))
    pelvis = neck + spine * 1.55 * identity.torso + np.array([state.hips[0], 0, 0])
    hip_axis = rotation(state.torso[0] * 0.6, 0, state.hips[1]) @ np.array([1.0, 0, 0])
    hands, feet = np.zeros((2, 21, 3)), np.zeros((2, 3))
    for side, sign in enumerate(SIDES):
        flip = np.array([sign, 1, 1])
        shoulder = neck + torso @ np.array([sign * shoulder_w, 0.05, 0])
        arm = unit(state.arms[side]) * flip @ torso.T
        elbow = shoulder + 0.86 * identity.arms * arm[0]
        wrist = elbow + 0.76 * identity.arms * arm[1]
        hip = pelvis + sign * hip_w * hip_axis
        leg = unit(state.legs[side]) * flip
        leg = leg @ rotation(state.torso[0] * 0.6, 0, 0).T
        knee = hip + 1.08 * identity.legs * leg[0]
        ankle = knee + 1.02 * identity.legs * leg[1]
        i, j = 2 + 3 * side, 8 + 3 * side
        body[i : i + 3] = shoulder, elbow, wrist
        body[j : j + 3] = hip, knee, ankle
        along, normal = state.hands[side] * flip @ torso.T
        along = unit(along)
        normal = unit(normal - (normal @ along) * along)
        thumb = sign * np.cross(along, normal)
        hands[side] = hand_points(
            wrist, np.stack([along, thumb, normal]), state.fingers[side], HAND_LENGTH * identity.head
        )
        toe = unit(np.array([sign * 0.3, 0.28, 0.75]) + 0.5 * (leg[1] - np.array([0, 1, 0])))
        feet[side] = ankle + 0.36 * toe
    body[1] = (body[2] + body[5]) / 2
    head = rotation(*state.head)
    centre = neck - 0.21 * spine + identity.head * (head @ np.array([0, -0.44, 0.05]))
    local = face_points(identity, state.face)
    world = centre + identity.head * (local @ head.T)
    normals = unit(local * np.array([1.4, 0.5, 1.0]))
    ear = 0.37 * identity.face_width
    extra = np.array([[-ear, 0.07, -0.03], [ear, 0.07, -0.03]])
    body[0] = world[30]
    body[14], body[15] = world[36:42].mean(0), world[42:48].mean(0)
    body[16:18] = centre + identity.head * (extra @ head.T)
    scale, y = FRAMING[state.kind]
    scale = scale * state.root[2]
    offset = np.array([0.5 + state.root[0], y + state.root[1]])
    if state.kind == "dance":
        offset[1] -= scale * (max(body[10, 1], body[13, 1]) + 0.1)
        offset[0] -= scale * pelvis[0]
    return Posed(
        identity, state, body, world, (normals @ head.T)[:, 2], hands, feet, head, torso, centre, scale, offset
    )
