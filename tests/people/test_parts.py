"""Parts of rendered people against their pictures and keypoints."""

import cv2
import numpy as np
import pytest

from src.people.body import pose_person
from src.people.identity import sample_identity
from src.people.motion import sample_motion
from src.people.parts import ARMS, FEET, HANDS, HEAD, LEGS, TORSO, render_clip_parts
from src.people.render import render_clip
from src.people.scene import background
from src.pose.keypoints import PoseSequence

SIZE, FRAMES = 128, 6
ALLOWED = {HEAD, TORSO, *HANDS, *FEET, *(part for limb in (*ARMS, *LEGS) for part in limb)}


@pytest.mark.parametrize("seed", [1, 4, 9])
@pytest.mark.parametrize("kind", ["talk", "dance"])
def test_the_mask_is_the_person(seed, kind):
    """What differs from the empty room is labelled, and nearly nothing else is, but for the shadow on the floor."""
    identity = sample_identity(seed)
    frames, _ = render_clip(identity, kind, FRAMES, SIZE, seed)
    parts = render_clip_parts(identity, kind, FRAMES, SIZE, seed)
    assert parts.dtype == np.uint8 and set(np.unique(parts)) <= ALLOWED | {0}
    room = cv2.resize(background(identity, kind, SIZE), (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(int)
    for frame, part in zip(frames, parts, strict=True):
        assert 0.05 < (part > 0).mean() < 0.9
        off = np.abs(frame - room).max(-1)
        above_the_floor = slice(0, round(0.85 * SIZE))
        assert ((off > 24) & (part == 0))[above_the_floor].mean() < 0.005
        # Skin may be nearly the wall's colour.
        assert ((off <= 2) & (part > 0)).sum() < 0.05 * (part > 0).sum()


def part_at(parts: np.ndarray, poses: PoseSequence, keypoint: int, frame: int) -> int | None:
    """The part under a keypoint; None where it is not seen."""
    if not poses.mask[frame, keypoint]:
        return None
    x, y = np.clip((poses.xy[frame, keypoint] * SIZE).astype(int), 0, SIZE - 1)
    return int(parts[frame, y, x])


def test_keypoints_lie_on_their_parts():
    """Another part may hide one, so most must agree, not all."""
    expected = {0: {HEAD}, 4: {HANDS[0], ARMS[0][1]}, 7: {HANDS[1], ARMS[1][1]}, 9: {*LEGS[0]}, 12: {*LEGS[1]}}
    clips = [
        (
            render_clip_parts(sample_identity(seed), "dance", 3, SIZE, seed),
            render_clip(sample_identity(seed), "dance", 3, SIZE, seed)[1],
        )
        for seed in range(1, 7)
    ]
    for keypoint, allowed in expected.items():
        found = []
        for parts, poses in clips:
            found += [part_at(parts, poses, keypoint, frame) for frame in range(3)]
        seen = [part for part in found if part is not None]
        assert len(seen) > 10
        assert np.mean([part in allowed for part in seen]) > 0.6, (keypoint, seen)


def test_left_and_right_are_the_persons_own():
    identity = sample_identity(1)
    parts = render_clip_parts(identity, "dance", FRAMES, SIZE, 1)
    for state, part in zip(sample_motion("dance", FRAMES, 1), parts, strict=True):
        posed = pose_person(identity, state)
        hips = posed.project(posed.body)[[8, 11], 0]
        if abs(hips[0] - hips[1]) < 0.03:
            continue
        centres = [np.nonzero(np.isin(part, LEGS[side]))[1].mean() for side in (0, 1)]
        assert (centres[0] < centres[1]) == (hips[0] < hips[1])
