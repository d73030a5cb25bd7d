"""Properties of pose edits and scripts: exactness of what is asked for, and of what is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.people.body import pose_person
from src.people.identity import sample_identity
from src.people.motion import sample_motion
from src.people.render import keypoints
from src.pose.edit import FACE, HANDS, arm, leg
from src.pose.formats import load_poses, save_poses
from src.pose.head import HEAD, TEMPLATE_P3, HeadPose, fit_head, rotation, turn_points
from src.pose.keypoints import PARTS, PoseSequence
from src.pose.script import EDITS, apply_script, load_script, perform_script

SHIPPED = sorted((CONF_DIR / "pose_script").glob("*.yaml"))
NEUTRAL_OPTIONS = {
    "blink": "side: left, ",
    "turn_head": "side: left, ",
    "tilt_head": "side: right, ",
    "raise_arm": "side: left, ",
    "bend_arm": "side: right, ",
    "pose_arm": "side: left, upper: 30, lower: 160, ",
    "translate": "x: 0.1, y: -0.2, ",
}


@pytest.fixture(scope="module")
def training() -> PoseSequence:
    """Whole bodies, everything in front of the camera and seen."""
    motion = sample_motion("dance", 6, 3)
    return PoseSequence.concatenate(
        *(keypoints(pose_person(sample_identity(3), replace(m, head=0.3 * m.head))) for m in motion)
    )


@pytest.fixture
def script(tmp_path: Path):
    def write(*edits: str, frames: int = 5):
        path = tmp_path / "script.yaml"
        path.write_text(f"frames: {frames}\nedits:\n" + "".join(f"  - {{{edit}}}\n" for edit in edits))
        return load_script(path)

    return write


def length(poses: PoseSequence, a: int, b: int) -> np.ndarray:
    return np.linalg.norm(poses.xy[:, a].astype(np.float64) - poses.xy[:, b], axis=-1)


def assert_untouched(edited: PoseSequence, source: PoseSequence, moved: list[int]) -> None:
    others = np.setdiff1d(np.arange(128), moved)
    assert (edited.xy[:, others] == source.xy[:, others]).all()
    assert (edited.mask[:, others] == source.mask[:, others]).all()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scripts_start_from_the_source_and_move(path, training):
    """Fig. 4: 8, 8 and 16 frames."""
    edited = perform_script(load_script(path), training, frame=0)
    assert len(edited) == {"blink_right": 8, "turn_right": 8, "wave_left": 16}[path.stem]
    assert (edited.xy[0] == training.xy[0]).all() and (edited.mask[0] == training.mask[0]).all()
    assert np.abs(edited.xy[-1] - edited.xy[0]).max() > 0.002


@pytest.mark.parametrize("name", EDITS)
def test_the_neutral_amount_changes_no_bit(name, training, script):
    neutral = 1 if name == "zoom" else 0
    edited = apply_script(script(f"edit: {name}, {NEUTRAL_OPTIONS.get(name, '')}keys: {neutral}"), training[0])
    assert (edited.xy == training.xy[0]).all() and (edited.mask == training.mask[0]).all()


def eye_aspect_ratio(xy_K2: np.ndarray, side: str) -> float:
    """Mean height of an eye over its width (Soukupová and Čech, 2016)."""
    eye_62 = xy_K2[FACE + (42 if side == "left" else 36) :][:6]
    heights = np.linalg.norm(eye_62[[1, 2]] - eye_62[[5, 4]], axis=-1)
    return float(heights.mean() / np.linalg.norm(eye_62[0] - eye_62[3]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("degree", [0.25, 1.0])
def test_blink_lowers_the_eye_aspect_ratio_to_the_degree(side, degree, training, script):
    edited = apply_script(script(f"edit: blink, side: {side}, keys: {{0: 0, 4: {degree}}}"), training[0])
    before = eye_aspect_ratio(training.xy[0], side)
    assert eye_aspect_ratio(edited.xy[4], side) == pytest.approx((1 - degree) * before, abs=1e-5)
    other = "left" if side == "right" else "right"
    assert eye_aspect_ratio(edited.xy[4], other) == eye_aspect_ratio(training.xy[0], other)
    start = FACE + (42 if side == "left" else 36)
    assert_untouched(edited, training[0], list(range(start, start + 6)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "edit", ["edit: raise_arm, keys: {0: 0, 4: 110}", "edit: pose_arm, upper: 20, lower: 170, keys: {0: 0, 4: 1}"]
)
def test_arms_keep_their_bones_and_take_the_hand_along(edit, side, training, script):
    edited = apply_script(script(f"{edit}, side: {side}"), training[0])
    shoulder, elbow, wrist = arm(side)
    hand = list(range(HANDS[side].start, HANDS[side].stop))
    bones = [(shoulder, elbow), (elbow, wrist), *((wrist, point) for point in hand), (hand[5], hand[17])]
    for a, b in bones:
        np.testing.assert_allclose(length(edited, a, b), length(training[0], a, b)[0], atol=1e-6)
    assert_untouched(edited, training[0], [elbow, wrist, *hand])
    assert np.abs(edited.xy[4, wrist] - training.xy[0, wrist]).max() > 0.02


@pytest.mark.parametrize("side", ["left", "right"])
def test_pose_arm_reaches_the_angles(side, training, script):
    edited = apply_script(
        script(f"edit: pose_arm, side: {side}, upper: 25, lower: 160, keys: {{0: 0, 4: 1}}"), training[0]
    )
    shoulder, elbow, wrist = arm(side)
    outwards = 1 if side == "left" else -1
    for start, end, angle in ((shoulder, elbow, 25), (elbow, wrist, 160)):
        x, y = edited.xy[4, end] - edited.xy[4, start]
        assert np.degrees(np.arctan2(outwards * x, y)) == pytest.approx(angle, abs=1e-3)


def test_a_turned_head_agrees_with_the_rendered_head():
    """The renderer's own head, turned in three dimensions, is the truth; a flat face would be off by 0.3 and more."""
    for seed in range(4):
        identity, state = sample_identity(20 + seed), sample_motion("talk", 1, seed)[0]
        state = replace(state, head=np.array([0.1, 0.05, 0.0]))
        before = pose_person(identity, state)
        for angles in ((0.4, 0, 0), (-0.4, 0, 0), (0, 0.25, 0), (0, 0, 0.2)):
            after = pose_person(identity, replace(state, head=state.head + angles))
            drawn, truth = (
                np.concatenate([p.project(p.face), p.project(p.body)[[0, 14, 15, 16, 17]]]) for p in (before, after)
            )
            pose = fit_head(drawn, np.ones(73, bool))
            moved, _ = turn_points(drawn, np.ones(73, bool), pose, yaw=angles[0], pitch=angles[1], roll=angles[2])
            error = np.linalg.norm(moved - truth, axis=-1).mean() / pose.scale
            assert error < 0.12
            assert error < 0.5 * np.linalg.norm(drawn - truth, axis=-1).mean() / pose.scale


def test_fit_head_finds_the_camera_of_the_generic_head():
    wanted = HeadPose(rotation(0.4, -0.2, 0.1), 0.07, np.array([0.4, 0.3]))
    mask = np.ones(73, bool)
    mask[60:] = False
    found = fit_head(wanted.project(TEMPLATE_P3), mask)
    np.testing.assert_allclose(found.rotation, wanted.rotation, atol=1e-4)
    np.testing.assert_allclose([found.scale, *found.offset], [0.07, 0.4, 0.3], atol=1e-5)
    assert fit_head(np.zeros((73, 2)), np.ones(73, bool)) is None
    assert fit_head(wanted.project(TEMPLATE_P3), np.arange(73) < 3) is None


def test_turning_right_moves_the_nose_to_the_persons_right_and_only_the_head(training, script):
    edited = apply_script(script("edit: turn_head, side: right, keys: {0: 0, 4: 20}"), training[0])
    ears = edited.xy[:, [16, 17], 0].mean(1)
    assert edited.xy[4, 0, 0] - ears[4] < edited.xy[0, 0, 0] - ears[0] - 0.005
    assert_untouched(edited, training[0], HEAD.tolist())


def test_nod_goes_down_and_open_mouth_parts_the_lips(training, script):
    down = apply_script(script("edit: nod, keys: {0: 0, 4: 20}"), training[0])
    assert down.xy[4, 0, 1] > down.xy[0, 0, 1]
    opened = apply_script(script("edit: open_mouth, keys: {0: 0, 4: 1}"), training[0])
    gap = length(opened, FACE + 62, FACE + 66)
    assert gap[4] - gap[0] == pytest.approx(0.6 * length(opened, FACE + 48, FACE + 54)[0], rel=0.05)
    assert (np.diff(gap) > 0).all()


def test_smile_widens_the_mouth_and_lifts_its_corners(training, script):
    edited = apply_script(script("edit: smile, keys: {0: 0, 4: 1}"), training[0])
    assert length(edited, FACE + 48, FACE + 54)[4] > 1.1 * length(edited, FACE + 48, FACE + 54)[0]
    assert (edited.xy[4, [FACE + 48, FACE + 54], 1] < edited.xy[0, [FACE + 48, FACE + 54], 1]).all()
    assert_untouched(edited, training[0], list(range(FACE + 48, FACE + 68)))


def test_walk_lifts_one_leg_at_a_time_and_returns(training, script):
    edited = apply_script(script("edit: walk, easing: linear, keys: {0: 0, 4: 2}"), training[0])
    right, left = leg("right")[2], leg("left")[2]
    assert edited.xy[1, right, 1] < edited.xy[0, right, 1] - 0.01 and (edited.xy[1, left] == edited.xy[0, left]).all()
    assert edited.xy[3, left, 1] < edited.xy[0, left, 1] - 0.01 and (edited.xy[3, right] == edited.xy[0, right]).all()
    np.testing.assert_allclose(edited.xy[[2, 4]], training.xy[[0, 0]], atol=1e-6)


def test_sway_keeps_every_bone_above_the_hips(training, script):
    edited = apply_script(script("edit: sway, period: 4, keys: 8"), training[0])
    for a, b in ((1, 2), (2, 3), (3, 4), (1, 0)):
        np.testing.assert_allclose(length(edited, a, b), length(training[0], a, b)[0], atol=1e-6)
    assert_untouched(edited, training[0], [i for i in range(128) if i not in (*leg("left"), *leg("right"))])
    assert edited.xy[1, 1, 0] > training.xy[0, 1, 0] > edited.xy[3, 1, 0]


def test_translate_and_zoom_are_what_they_say(training, script):
    seen = training.mask[0]
    moved = apply_script(script("edit: translate, x: 0.1, y: -0.2, keys: 0.5"), training[0])
    np.testing.assert_allclose(moved.xy[0, seen], training.xy[0, seen] + [0.05, -0.1], atol=1e-6)
    larger = apply_script(script("edit: zoom, keys: 2"), training[0])
    np.testing.assert_allclose(larger.xy[0, seen] - 0.5, 2 * (training.xy[0, seen] - 0.5), atol=1e-6)


def test_easings_hold_keys_and_periods_swing(script):
    keyed = script("edit: smile, easing: linear, keys: {1: 0, 3: 1}").edits[0]
    assert [keyed.amount(f) for f in range(5)] == [0, 0, 0.5, 1, 1]
    assert [script("edit: smile, easing: hold, keys: {0: 2, 3: 1}").edits[0].amount(f) for f in range(5)] == [
        2,
        2,
        2,
        1,
        1,
    ]
    swing = script("edit: smile, period: 4, keys: {0: 2}").edits[0]
    np.testing.assert_allclose([swing.amount(f) for f in range(5)], [0, 2, 0, -2, 0], atol=1e-12)


def test_edited_poses_survive_web_editors(training, tmp_path):
    """Out as OpenPose JSON, in again, edited, out and in: sequences and single frames."""
    edited = perform_script(load_script(SHIPPED[0]), training, frame=0)
    for poses in (edited, edited[3]):
        save_poses(tmp_path / "poses.json", poses)
        back = load_poses(tmp_path / "poses.json")
        np.testing.assert_allclose(back.xy, poses.xy, atol=1e-6)
        assert (back.mask == poses.mask).all()


def test_the_start_frame_is_one_where_the_edit_can_be_done(training, script):
    hidden = training.mask.copy()
    hidden[:4, PARTS["face"]] = False
    partly = PoseSequence(training.xy, training.confidence, hidden)
    blink = script("edit: blink, side: right, keys: {0: 0, 4: 1}")
    edited = perform_script(blink, partly)
    assert any((edited.xy[0] == partly.xy[i]).all() for i in (4, 5))
    with pytest.raises(UserError, match="face point 37.*each of the 4 training frames"):
        perform_script(blink, partly[:4])
    with pytest.raises(UserError, match="start frame 9 .* 0 to 5"):
        perform_script(blink, partly, frame=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frames: 8\nedits: [", "is not YAML"),
        ("- 1", "must hold the keys"),
        ("frames: 8\nedit: []", "has no edit; known are edits, frame, frames"),
        ("frames: many\nedits: [{edit: smile, keys: 1}]", "frames='many'"),
        ("frames: 0\nedits: [{edit: smile, keys: 1}]", "frames=0"),
        ("frames: 8\nedits: []", "at least one edit"),
        ("frames: 8\nedits: [{edit: wink, keys: 1}]", "edit 1: wink is no edit; choose one of blink"),
        ("frames: 8\nedits: [{edit: blink, keys: 1}]", "edit 1 .blink. needs side"),
        ("frames: 8\nedits: [{edit: blink, side: up, keys: 1}]", "side='up'.*'left' or 'right'"),
        ("frames: 8\nedits: [{edit: smile, elbow: 3, keys: 1}]", "has no elbow"),
        ("frames: 8\nedits: [{edit: smile}]", "keys="),
        ("frames: 8\nedits: [{edit: smile, keys: {9: 1}}]", "frames from 0 to 7"),
        ("frames: 8\nedits: [{edit: smile, keys: {1: .nan}}]", "finite"),
        ("frames: 8\nedits: [{edit: smile, keys: 1, easing: bouncy}]", "easing=bouncy"),
        ("frames: 8\nedits: [{edit: smile, keys: 1, period: 0}]", "period=0"),
    ],
)
def test_bad_scripts_are_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_script(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_script_is_said():
    with pytest.raises(UserError, match="no pose script at nowhere.yaml"):
        load_script("nowhere.yaml")
