"""Rendered people: an endless source of pictures and clips with exact whole-body keypoints.

A person is an `Identity`, a motion a list of `MotionState`s that fits every identity, so one person can perform
the motion of another with their own proportions. Drawing and keypoints come from the same 3-D model.

Dimensions: F frames, S side of the square picture in pixels, C = 3 RGB.

Which keypoints are marked as seen: those inside the frame whose part is not turned away. A face point, an eye or an
ear is turned away when the outward normal of the head there points away from the viewer; the other parts are always
seen. Hands, hair or clothes in front of a point do not hide it.
"""

import numpy as np

from src.common.errors import UserError
from src.people.body import MotionState, Posed, pose_person
from src.people.figure import draw
from src.people.identity import Identity
from src.people.motion import sample_motion, sample_state
from src.pose.keypoints import PoseSequence

KINDS = ("talk", "dance")
MIN_SIZE, MAX_SIZE = 32, 2048


def _check(kind: str, num_frames: int, size: int) -> None:
    if kind not in KINDS:
        raise UserError(f"there is no kind of rendered clip {kind!r}: choose one of {', '.join(KINDS)}")
    if num_frames < 1:
        raise UserError(f"a rendered clip needs at least 1 frame, got {num_frames}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"rendered pictures have a side of {MIN_SIZE} to {MAX_SIZE} pixels, got {size}")


def keypoints(posed: Posed) -> PoseSequence:
    """The 128 keypoints of a posed person as a sequence of one frame; the module says which are seen."""
    points = posed.project(np.concatenate([posed.body, posed.face, posed.hands[::-1].reshape(42, 3)]))
    mask = ((points >= 0) & (points < 1)).all(-1)
    normals = posed.face_normals_z
    mask[18:86] &= normals > -0.35
    turn = posed.head[0, 2]
    mask[14] &= normals[36:42].mean() > -0.2
    mask[15] &= normals[42:48].mean() > -0.2
    mask[16] &= turn > -0.35
    mask[17] &= turn < 0.35
    # The nose is seen whenever the head is not turned to the back.
    mask[0] &= posed.head[2, 2] > 0
    return PoseSequence(points[None].astype(np.float32), mask[None].astype(np.float32), mask[None])


def render_pose(identity: Identity, motion_state: MotionState, size: int) -> tuple[np.ndarray, PoseSequence]:
    """Draw one person in one moment.

    Returns:
        (S, S, C) uint8 RGB, and the keypoints as a sequence of one frame, in units of the frame.

    Raises:
        UserError: the size is out of range.
    """
    _check(motion_state.kind, 1, size)
    posed = pose_person(identity, motion_state)
    return draw(posed, size), keypoints(posed)


def render_motion(identity: Identity, motion: list[MotionState], size: int) -> tuple[np.ndarray, PoseSequence]:
    """Draw one person performing a motion, which may have been sampled for anyone.

    Returns:
        (F, S, S, C) uint8 RGB, and the keypoints of every frame.

    Raises:
        UserError: the motion is empty or the size is out of range.
    """
    _check(motion[0].kind if motion else KINDS[0], len(motion), size)
    rendered = [render_pose(identity, state, size) for state in motion]
    return np.stack([frame for frame, _ in rendered]), PoseSequence.concatenate(*(pose for _, pose in rendered))


def render_clip(
    identity: Identity, kind: str, num_frames: int, size: int, seed: int
) -> tuple[np.ndarray, PoseSequence]:
    """Draw a clip at 10 frames a second: `render_motion` of `sample_motion`.

    Args:
        identity: who is seen, and where.
        kind: "talk" (half body) or "dance" (whole body).
        num_frames: F.
        size: S, from 32 to 2048 pixels.
        seed: of the motion; the same seed gives the same bytes.

    Returns:
        (F, S, S, C) uint8 RGB, and the keypoints of every frame.

    Raises:
        UserError: an unknown kind, no frames, or a size out of range.
    """
    _check(kind, num_frames, size)
    return render_motion(identity, sample_motion(kind, num_frames, seed), size)


def render_frame(identity: Identity, kind: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, PoseSequence]:
    """Draw one random pose, from a wider distribution than the poses of clips.

    Returns:
        (S, S, C) uint8 RGB, and the keypoints as a sequence of one frame.

    Raises:
        UserError: an unknown kind, or a size out of range.
    """
    _check(kind, 1, size)
    return render_pose(identity, sample_state(kind, rng), size)
