"""Each ratio of retargeting by itself, on a body whose lengths are given; what fills in for lengths not seen."""

import numpy as np
import pytest

from src.pose.edit import HANDS, NECK, arm, leg
from src.pose.head import HEAD, TEMPLATE_P3, HeadPose
from src.pose.keypoints import PoseSequence
from src.pose.proportions import BONES, fit_heads, fit_proportions
from src.pose.retarget import retarget

# No limb is near the least ratio of its two bones.
LENGTHS = {
    "shoulder": 0.07,
    "upper_arm": 0.1,
    "forearm": 0.095,
    "torso": 0.2,
    "pelvis": 0.04,
    "thigh": 0.14,
    "shank": 0.13,
    "hand": 0.04,
    "head": 0.03,
    "head_height": 0.08,
}
HAND_212 = np.random.default_rng(3).uniform(-1, 1, (21, 2))


def body(lengths: dict[str, float], frames: int = 4) -> PoseSequence:
    """One pose, seen from the front, with those lengths."""
    xy = np.zeros((128, 2))
    xy[NECK] = 0.5, 0.35
    head = HeadPose(np.eye(3), lengths["head"], xy[NECK] - (0, lengths["head_height"]))
    xy[HEAD] = head.project(TEMPLATE_P3)
    hips = xy[NECK] + (0, lengths["torso"])
    for side, sign in (("right", -1), ("left", 1)):
        shoulder, elbow, wrist = arm(side)
        hip, knee, ankle = leg(side)
        xy[shoulder] = xy[NECK] + lengths["shoulder"] * np.array([sign, 0])
        xy[elbow] = xy[shoulder] + lengths["upper_arm"] * np.array([sign * 0.6, 0.8])
        xy[wrist] = xy[elbow] + lengths["forearm"] * np.array([sign * 0.8, -0.6])
        xy[hip] = hips + lengths["pelvis"] * np.array([sign, 0])
        xy[knee] = xy[hip] + lengths["thigh"] * np.array([sign * 0.28, 0.96])
        xy[ankle] = xy[knee] + lengths["shank"] * np.array([0, 1])
        xy[HANDS[side]] = xy[wrist] + lengths["hand"] * (HAND_212 - HAND_212[0])
    seen = np.ones((frames, 128), bool)
    return PoseSequence(np.repeat(xy[None], frames, 0), seen, seen)


def about_the_neck(poses: PoseSequence) -> np.ndarray:
    return poses.xy[0] - poses.xy[0, NECK]


@pytest.mark.parametrize("name", LENGTHS)
def test_one_other_length_is_the_subjects_and_all_others_stay(name):
    assert set(LENGTHS) == {*BONES, "hand", "head", "head_height"}
    driver, subject = body(LENGTHS), body(LENGTHS | {name: 1.15 * LENGTHS[name]})
    fitted = retarget(driver, subject, "bones")
    assert fitted.mask.all() and np.abs(about_the_neck(driver) - about_the_neck(subject)).max() > 0.004
    np.testing.assert_allclose(about_the_neck(fitted), about_the_neck(subject), atol=2e-4)


def test_lengths_not_seen_follow_the_size_and_hands_the_head():
    larger = {name: 1.2 * length for name, length in LENGTHS.items()} | {"head": 0.9 * LENGTHS["head"]}
    subject = body(larger)
    mask = subject.mask.copy()
    mask[:, [*(leg(side)[2] for side in HANDS), *np.r_[HANDS["left"], HANDS["right"]]]] = False
    fitted = retarget(body(LENGTHS), PoseSequence(subject.xy, subject.confidence, mask), "bones")
    wanted = about_the_neck(body(larger | {"hand": 0.9 * LENGTHS["hand"]}))
    np.testing.assert_allclose(about_the_neck(fitted), wanted, atol=2e-4)


def test_hands_that_never_open_are_not_taken_for_small_ones():
    """Of the same person clasped and open hands could be measured as 1 to 3, and the retargeted ones grew as much."""
    clasped = LENGTHS | {"hand": 0.2 * LENGTHS["hand"]}
    fitted, driver = retarget(body(clasped), body(LENGTHS), "bones"), body(clasped)
    hand = HANDS["left"]
    grown = np.ptp(fitted.xy[0, hand], 0) / np.ptp(driver.xy[0, hand], 0)
    palm = np.mean([np.linalg.norm(HAND_212[a] - HAND_212[b]) for a, b in ((0, 5), (0, 9), (0, 13), (0, 17), (5, 17))])
    np.testing.assert_allclose(grown, palm * LENGTHS["hand"] / (0.9 * LENGTHS["head"]), rtol=1e-3)


@pytest.mark.parametrize(("standing", "known"), [(5, True), (4, False)])
def test_who_stands_in_half_of_the_frames_stands_somewhere(standing, known):
    poses = body(LENGTHS, 10)
    mask = poses.mask.copy()
    mask[standing:, leg("left")[2]] = False
    seen = PoseSequence(poses.xy, poses.confidence, mask)
    assert (fit_proportions(seen, fit_heads(seen), whose="subject").footing is not None) == known
