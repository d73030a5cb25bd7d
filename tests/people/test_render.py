"""The people renderer: determinism, exact keypoints, depth, retargeting and smoothness."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from src.common.errors import UserError
from src.people.body import MotionState, pose_person
from src.people.canvas import Canvas
from src.people.identity import (
    BACKGROUND_COLOURS,
    CLOTH_COLOURS,
    HAIR_COLOURS,
    HAIR_STYLES,
    PATTERNS,
    Identity,
    describe,
    sample_identity,
)
from src.people.motion import sample_motion
from src.people.render import KINDS, render_clip, render_frame, render_motion, render_pose
from src.pose.keypoints import BODY_NAMES, PARTS

MAGENTA, LIME = (255, 0, 255), (0, 255, 0)
BODY = {name: i for i, name in enumerate(BODY_NAMES)}


def facing(yaw: float = 0.0, **changes) -> MotionState:
    """Both hands raised and open, the face calm and looking straight ahead; `changes` replace fields."""
    arms = np.tile([[0.4, 0.9, 0.0], [0.1, -1.0, 0.1]], (2, 1, 1))
    hands = np.tile([[0.1, -1.0, 0.0], [0.0, 0.0, 1.0]], (2, 1, 1))
    values = {
        "kind": "talk", "root": np.array([0.0, 0.0, 1.0]), "torso": np.zeros(3), "head": np.array([yaw, 0.0, 0.0]),
        "hips": np.zeros(2), "arms": arms, "legs": np.tile([0.1, 1.0, 0.0], (2, 2, 1)), "hands": hands,
        "fingers": np.tile([0.0, 0, 0, 0, 0, 0.6], (2, 1)), "face": np.zeros(8),
    }  # fmt: skip
    return MotionState(**(values | changes))


def plain(seed: int = 0, **changes) -> Identity:
    """A person whose skin no other thing in the picture has."""
    calm = {"glasses": "", "beard": False, "hat_colour": "", "hair_style": "short", "fringe": "none"}
    return replace(sample_identity(seed), **(calm | {"skin": MAGENTA} | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_bytes_and_another_does_not(kind: str) -> None:
    identity = sample_identity(3)
    first, pose = render_clip(identity, kind, 4, 64, 5)
    again, same_pose = render_clip(sample_identity(3), kind, 4, 64, 5)
    other, _ = render_clip(identity, kind, 4, 64, 6)
    assert first.dtype == np.uint8 and first.shape == (4, 64, 64, 3)
    assert np.array_equal(first, again) and np.array_equal(pose.xy, same_pose.xy)
    assert np.abs(first.astype(int) - other).mean() > 2
    stranger, _ = render_clip(sample_identity(4), kind, 4, 64, 5)
    assert np.abs(first.astype(int) - stranger).mean() > 10


def test_random_frames_follow_the_generator() -> None:
    identity = sample_identity(1)
    first, _ = render_frame(identity, "talk", 64, np.random.default_rng(0))
    again, _ = render_frame(identity, "talk", 64, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    frames = [render_frame(identity, "talk", 64, rng)[0] for _ in range(2)]
    assert np.array_equal(first, again) and np.array_equal(first, frames[0])
    assert not np.array_equal(*frames)


def test_motion_is_independent_of_its_length_and_of_the_identity() -> None:
    long, short = sample_motion("dance", 30, 9), sample_motion("dance", 7, 9)
    for a, b in zip(long[:7], short, strict=True):
        for field in fields(MotionState):
            assert np.array_equal(getattr(a, field.name), getattr(b, field.name))


@pytest.mark.parametrize("shape", ["polygon", "circle", "line", "taper"])
def test_shapes_are_centred_on_their_coordinates(shape: str) -> None:
    rng, side = np.random.default_rng(0), 256
    ring = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rows, columns = np.mgrid[:side, :side] + 0.5
    errors = []
    for centre in rng.uniform(0.3, 0.7, (40, 2)):
        canvas = Canvas(np.zeros((side, side, 3), np.uint8), side, np.zeros(2))
        if shape == "polygon":
            canvas.polygon(centre + 0.05 * np.stack([np.cos(ring), np.sin(ring)], -1), (255, 255, 255))
        elif shape == "circle":
            canvas.circle(centre, 0.05, (255, 255, 255))
        elif shape == "line":
            canvas.line(np.array([centre - 0.03, centre + 0.03]), 0.02, (255, 255, 255))
        else:
            canvas.taper(centre - 0.03, centre + 0.03, 0.02, 0.02, (255, 255, 255))
        weight = canvas.image[..., 0].astype(float)
        drawn = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        errors.append(drawn - centre * side)
    assert (np.abs(np.mean(errors, 0)) < 0.05).all() and np.abs(errors).max() < 0.25


@pytest.mark.parametrize("seed", range(4))
def test_fingers_are_drawn_at_their_keypoints(seed: int) -> None:
    frame, pose = render_pose(plain(seed), facing(), 256)
    for part in ("left_hand", "right_hand"):
        x, y = (pose.xy[0, PARTS[part]] * 256).astype(int).T
        assert pose.mask[0, PARTS[part]].all()
        # Skin is the only thing with far more red and blue than green; joints at a finger's edge may be shaded.
        colours = frame[y, x].astype(int)
        assert (np.minimum(colours[:, 0], colours[:, 2]) - colours[:, 1] > 100).all()


@pytest.mark.parametrize("yaw", [-0.4, 0.0, 0.4])
def test_iris_is_drawn_at_the_centre_of_the_eye_keypoints(yaw: float) -> None:
    identity = plain(2, eye_colour=LIME, background="pink", shirt_colour="red", eye_size=1.1)
    frame, pose = render_pose(identity, facing(yaw), 512)
    near = 42 if yaw < 0 else 36
    for start in (36, 42) if yaw == 0 else (near,):
        corners = pose.xy[0, 18 + start : 18 + start + 6] * 512
        centre = corners.mean(0)
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        crop = frame[low[1] : high[1], low[0] : high[0]].astype(int)
        dark = crop.max(-1) < 40
        green = (crop[..., 1] > 150) & (crop[..., 0] < 110) & (crop[..., 2] < 110)
        assert green.sum() > 20
        _, x = np.nonzero(green | dark)
        middle_x = (low[0] + x.min() + low[0] + x.max() + 1) / 2
        # The lid cuts the iris at the top, so its height says less than its width.
        assert abs(middle_x - centre[0]) < 2.5
        assert green[:, max(int(centre[0] - low[0]) - 8, 0) : int(centre[0] - low[0]) + 8].any()


def test_open_mouth_is_dark_inside_its_inner_keypoints() -> None:
    face = np.zeros(8)
    face[2] = 1
    frame, pose = render_pose(plain(5), facing(face=face), 512)
    inner = pose.xy[0, 18 + 60 : 18 + 68] * 512
    x, y = (inner[[1, 7]].mean(0) * 0.35 + inner[[5, 7]].mean(0) * 0.65).astype(int)
    lip = (pose.xy[0, 18 + 57] * 512 + inner[6]) / 2
    assert frame[y, x, 1] < 130
    assert not np.array_equal(frame[int(lip[1]), int(lip[0])], frame[y, x])
    closed, still = render_pose(plain(5), facing(), 512)
    gap = still.xy[0, 18 + 66, 1] - still.xy[0, 18 + 62, 1]
    assert abs(gap) < 1e-6 < inner[6, 1] - inner[2, 1]
    assert not np.array_equal(closed, frame)


def test_left_and_right_are_the_persons_own_and_the_hands_hang_on_the_wrists() -> None:
    _, pose = render_pose(plain(), facing(), 64)
    xy = pose.xy[0]
    for joint in ("shoulder", "elbow", "wrist", "eye", "ear"):
        assert xy[BODY[f"left_{joint}"], 0] > 0.5 > xy[BODY[f"right_{joint}"], 0]
    for side in ("left", "right"):
        assert np.allclose(xy[PARTS[f"{side}_hand"]][0], xy[BODY[f"{side}_wrist"]], atol=1e-6)
    # With the palms to the viewer both thumbs point to the middle.
    left, right = xy[PARTS["left_hand"]], xy[PARTS["right_hand"]]
    assert left[4, 0] < left[20, 0] and right[4, 0] > right[20, 0]


def test_face_points_are_in_ibug_order() -> None:
    _, pose = render_pose(plain(), facing(), 64)
    face = pose.xy[0, PARTS["face"]]
    jaw, brows, nose, base = face[:17], face[17:27], face[27:31], face[31:36]
    assert (np.diff(jaw[:9, 1]) > 0).all() and (np.diff(jaw[8:, 1]) < 0).all()
    for row in (jaw, brows, base, face[48:55], face[60:65]):
        assert (np.diff(row[:, 0]) > 0).all()
    assert (np.diff(nose[:, 1]) > 0).all()
    for start in (36, 42):
        eye = face[start : start + 6]
        assert eye[0, 0] < eye[1, 0] < eye[2, 0] < eye[3, 0]
        assert eye[4, 0] > eye[5, 0] and (eye[4:, 1] > eye[1:3, 1]).all()
    assert (np.diff(face[54:60, 0]) < 0).all() and (np.diff(face[64:68, 0]) < 0).all()
    symmetric = face[[0, 17, 36, 48]].mean(0)[0] + face[[16, 26, 45, 54]].mean(0)[0]
    assert symmetric == pytest.approx(1.0, abs=1e-5)


def test_turning_the_head_moves_features_by_their_depth() -> None:
    before = pose_person(plain(), facing())
    after = pose_person(plain(), facing(0.3))
    moved = after.face[:, 0] - before.face[:, 0]
    assert moved[30] > moved[27] > moved[8] * 0.9 > 0
    assert moved[30] > 2 * abs(moved[0])
    # A turned head is the same solid.
    solid = [np.linalg.norm(p.face[:, None] - p.face[None], axis=-1) for p in (before, after)]
    assert np.allclose(*solid, atol=1e-9)


def test_what_is_turned_away_or_outside_is_not_seen() -> None:
    _, front = render_pose(plain(), facing(), 64)
    _, turned = render_pose(plain(), facing(0.9), 64)
    ears = [BODY["right_ear"], BODY["left_ear"]]
    assert front.mask[0, ears].all() and front.mask[0, PARTS["face"]].all()
    # Turned to the right of the picture: the person's left side is the far one.
    assert turned.mask[0, ears].tolist() == [True, False]
    assert not turned.mask[0, 18 + 16] and turned.mask[0, 18 + 0]
    hips = [BODY["right_hip"], BODY["left_knee"], BODY["left_ankle"]]
    assert not front.mask[0, hips].any() and (front.xy[0, hips] == 0).all()
    for kind in KINDS:
        _, pose = render_clip(sample_identity(8), kind, 20, 32, 8)
        seen = pose.xy[pose.mask]
        assert ((seen >= 0) & (seen < 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_bones_keep_their_length_and_another_person_keeps_the_directions(kind: str) -> None:
    motion = sample_motion(kind, 25, 4)
    short, tall = (replace(sample_identity(0), arms=a, legs=a) for a in (0.92, 1.08))
    bones = [(2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13)]
    vectors = []
    for identity in (short, tall):
        posed = [pose_person(identity, state) for state in motion]
        vectors.append(np.array([[p.body[b] - p.body[a] for a, b in bones] for p in posed]))
        lengths = np.linalg.norm(vectors[-1], axis=-1)
        assert np.allclose(lengths, lengths[0], atol=1e-9)
        hand = np.array([np.linalg.norm(np.diff(p.hands[:, 5:9], axis=1), axis=-1) for p in posed])
        assert np.allclose(hand, hand[0], atol=1e-9)
    assert np.allclose(vectors[1], vectors[0] * (1.08 / 0.92), atol=1e-9)


def test_proportions_move_the_keypoints() -> None:
    identity = plain(6)
    _, base = render_pose(identity, facing(), 64)
    for name in ("head", "face_width", "jaw", "eye_spacing", "nose", "mouth", "shoulders", "arms"):
        _, other = render_pose(replace(identity, **{name: getattr(identity, name) * 1.08}), facing(), 64)
        assert np.abs(other.xy - base.xy).max() > 1e-3, name


def test_every_resolution_shows_the_same_picture() -> None:
    identity = sample_identity(11)
    state = sample_motion("talk", 5, 2)[4]
    small, small_pose = render_pose(identity, state, 128)
    large, large_pose = render_pose(identity, state, 512)
    assert np.array_equal(small_pose.xy, large_pose.xy)
    shrunk = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    # Strokes have whole widths in pixels of the supersampled picture, so edges differ a little, but nothing shifts.
    assert np.abs(shrunk.astype(int) - small).mean() < 4
    (dx, dy), _ = cv2.phaseCorrelate(shrunk.mean(-1), small.astype(float).mean(-1))
    assert abs(dx) < 0.25 and abs(dy) < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_clips_move_smoothly_over_a_still_room(kind: str) -> None:
    identity = sample_identity(7)
    frames, pose = render_clip(identity, kind, 40, 64, 3)
    steps = np.linalg.norm(np.diff(pose.xy, axis=0), axis=-1)[pose.mask[1:] & pose.mask[:-1]]
    assert 0.002 < np.median(steps) < 0.03
    assert np.quantile(steps, 0.99) < 0.2
    assert np.array_equal(frames[:, :2], np.broadcast_to(frames[:1, :2], frames[:, :2].shape))


def test_dancers_stand_on_the_ground() -> None:
    for seed in range(4):
        _, pose = render_clip(sample_identity(seed), "dance", 15, 32, seed)
        ankles = pose.xy[:, [BODY["right_ankle"], BODY["left_ankle"]], 1].max(1)
        assert pose.mask[:, :14].mean() > 0.97
        # Perspective lifts or lowers a foot by a little.
        assert (np.abs(ankles - 0.91) < 0.03).all()


def test_prompts_come_from_a_closed_vocabulary_and_name_what_is_drawn() -> None:
    fixed = ("a", "an", "person", "with", "hair", "and", "in", "glasses", "beard", "bald", "head", "wearing", "shirt")
    words = {*fixed, "hat", "background", *HAIR_STYLES, *HAIR_COLOURS, *CLOTH_COLOURS, *PATTERNS, *BACKGROUND_COLOURS}
    for seed in range(300):
        identity = sample_identity(seed)
        prompt = describe(identity)
        assert set(prompt.replace(",", "").split()) <= words
        assert (" glasses " in prompt) == bool(identity.glasses)
        assert (" hat," in prompt) == bool(identity.hat_colour)
        assert f"{identity.background} background" in prompt
        assert f"{identity.shirt_pattern} {identity.shirt_colour} shirt" in prompt


def test_prompt_edits_change_the_picture_only_where_they_say() -> None:
    identity = plain(12, hair_colour="black")
    red = replace(identity, hair_colour="red")
    before, pose = render_pose(identity, facing(), 128)
    after, _ = render_pose(red, facing(), 128)
    changed = (before != after).any(-1)
    chin = int(pose.xy[0, 18 + 8, 1] * 128)
    assert 100 < changed.sum() < 0.15 * 128 * 128 and not changed[chin + 2 :].any()


def test_bad_requests_are_user_errors() -> None:
    identity = sample_identity(0)
    with pytest.raises(UserError, match="walk"):
        render_clip(identity, "walk", 3, 64, 0)
    with pytest.raises(UserError, match="at least 1 frame"):
        render_clip(identity, "talk", 0, 64, 0)
    with pytest.raises(UserError, match="at least 1 frame"):
        render_motion(identity, [], 64)
    with pytest.raises(UserError, match="32 to 2048"):
        render_frame(identity, "talk", 8, np.random.default_rng(0))
