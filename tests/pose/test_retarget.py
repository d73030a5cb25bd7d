"""Properties of retargeting, with the renderer as truth; smoothing; distance to the training poses."""

import numpy as np
import pytest

from src.common.errors import UserError
from src.people.body import pose_person
from src.people.identity import sample_identity
from src.people.motion import sample_motion
from src.people.render import keypoints
from src.pose.distance import distance_to_training
from src.pose.edit import HANDS, NECK
from src.pose.keypoints import PoseSequence
from src.pose.retarget import retarget
from src.pose.smooth import SmoothSettings, fill_gaps, one_euro


def perform(identity: int, kind: str, frames: int, motion: int) -> PoseSequence:
    """True keypoints of one person doing a motion."""
    person = sample_identity(identity)
    return PoseSequence.concatenate(*(keypoints(pose_person(person, m)) for m in sample_motion(kind, frames, motion)))


def error(a: PoseSequence, b: PoseSequence) -> float:
    both = a.mask & b.mask
    return float(np.linalg.norm(a.xy - b.xy, axis=-1)[both].mean())


def without(poses: PoseSequence, *points) -> PoseSequence:
    mask = poses.mask.copy()
    for point in points:
        mask[:, point] = False
    return PoseSequence(poses.xy, poses.confidence, mask)


@pytest.mark.parametrize(
    ("kind", "pairs"), [("talk", ((1, 2), (3, 5), (4, 6))), ("dance", ((7, 8), (9, 11), (12, 10)))]
)
def test_bones_beats_none_and_scale_where_the_truth_is_known(kind, pairs):
    """The subject is known by 8 frames of another motion; truth is the subject rendered doing the driver's motion."""
    errors = {mode: [] for mode in ("none", "scale", "bones")}
    for subject, driver in pairs:
        training = perform(subject, kind, 32, subject)[::4]
        driving, truth = perform(driver, kind, 40, driver), perform(subject, kind, 40, driver)
        for mode, found in errors.items():
            found.append(error(retarget(driving, training, mode), truth))
    means = {mode: np.mean(found) for mode, found in errors.items()}
    assert means["bones"] < 0.6 * means["none"] and means["bones"] < 0.6 * means["scale"]


@pytest.mark.parametrize("mode", ["scale", "bones"])
def test_onto_oneself_nothing_changes(mode):
    poses = perform(7, "dance", 12, 1)
    same = retarget(poses, poses, mode)
    assert (same.mask == poses.mask).all()
    np.testing.assert_allclose(same.xy, poses.xy, atol=1e-6)


def test_a_driver_of_another_size_and_place_is_undone():
    """Zooming and moving the camera of the driver does not matter once it shows in every frame."""
    subject = perform(2, "talk", 24, 2)
    far_away = without(subject, range(8, 14)).transformed((0.5, 0.5), (0.45, 0.4))
    back = retarget(far_away, subject, "bones")
    assert error(back, subject) < 0.01 < error(far_away, subject)


def test_bones_keep_the_drivers_directions_and_take_the_subjects_ratio():
    driving, training = perform(8, "dance", 20, 8), perform(9, "dance", 20, 3)
    fitted = retarget(driving, training, "bones")
    for a, b in ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10)):
        seen = fitted.mask[:, [a, b]].all(1) & driving.mask[:, [a, b]].all(1)
        before, after = driving.xy[seen, b] - driving.xy[seen, a], fitted.xy[seen, b] - fitted.xy[seen, a]
        ratio = np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
        np.testing.assert_allclose(after, ratio[0] * before, atol=1e-5)


def test_expressions_are_carried_as_offsets():
    """Only the mouth opens in the driver: in the result only the mouth, and the jaw, open against the neutral face."""
    subject = perform(3, "talk", 1, 3)
    driver = perform(4, "talk", 1, 4)
    still = PoseSequence.concatenate(*[driver] * 9)
    moved = driver.xy.copy()
    moved[0, 18 + np.arange(55, 60), 1] += 0.01
    driving = PoseSequence.concatenate(still, PoseSequence(moved, driver.confidence, driver.mask))
    fitted = retarget(driving, subject, "bones")
    change = np.abs(fitted.xy[-1] - fitted.xy[0]).max(-1)
    lip = 18 + np.arange(55, 60)
    assert change[lip].min() > 0.005 > 3 * change[np.setdiff1d(np.arange(18, 66), lip)].max()


def test_missing_joints_and_unseen_parts_are_handled():
    driving, training = perform(8, "dance", 10, 8), perform(9, "dance", 10, 9)
    fitted = retarget(without(driving, 3, 10), without(training, *HANDS.values(), 9, 12), "bones")
    assert not fitted.mask[:, [3, 10]].any()
    assert fitted.mask[:, 4].all() and fitted.mask[:, HANDS["left"]].any() and np.isfinite(fitted.xy).all()
    gone = driving.mask.copy()
    gone[4] = False
    gap = retarget(PoseSequence(driving.xy, driving.confidence, gone), training, "bones")
    assert not gap.mask[4].any() and gap.mask[5].any()
    no_neck = driving.mask.copy()
    no_neck[4, NECK] = False
    assert retarget(PoseSequence(driving.xy, driving.confidence, no_neck), training, "bones").mask[4].any()


def test_points_outside_the_frame_are_unseen():
    driving = perform(8, "dance", 6, 8)
    near = perform(9, "dance", 6, 9).transformed((1.8, 1.8), (-0.4, -0.2))
    fitted = retarget(driving, near, "bones")
    assert ((fitted.xy[fitted.mask] >= 0) & (fitted.xy[fitted.mask] < 1)).all()
    assert fitted.mask.sum() < driving.mask.sum()


def test_bad_input_is_refused():
    poses = perform(8, "dance", 4, 8)
    with pytest.raises(UserError, match="retarget=bone is unknown: choose one of none, scale, bones"):
        retarget(poses, poses, "bone")
    with pytest.raises(UserError, match="neck of the driver is seen in no pose"):
        retarget(without(poses, NECK), poses, "bones")
    with pytest.raises(UserError, match="neck of the subject is seen in no pose"):
        retarget(poses, without(poses, NECK), "scale")
    assert retarget(poses, without(poses, NECK), "none") is poses


def test_one_euro_calms_points_at_rest_and_follows_fast_ones():
    rng, still = np.random.default_rng(0), perform(2, "talk", 1, 2)
    clip = PoseSequence.concatenate(*[still] * 60)
    noisy = PoseSequence(clip.xy + rng.normal(0, 0.004, clip.xy.shape), clip.confidence, clip.mask)
    smooth = one_euro(noisy, 25, min_cutoff=1.0, beta=10)
    assert error(smooth, clip) < 0.5 * error(noisy, clip)
    ramp = clip.xy + np.linspace(0, 1, 60)[:, None, None]
    moving = PoseSequence(ramp, clip.confidence, clip.mask)
    assert np.abs(one_euro(moving, 25, min_cutoff=1.0, beta=10).xy - moving.xy)[20:40][clip.mask[20:40]].max() < 0.002
    np.testing.assert_array_equal(one_euro(clip, 25, min_cutoff=1.0, beta=10).xy, clip.xy)


def written_out(values: np.ndarray, fps: float, min_cutoff: float, beta: float) -> np.ndarray:
    """The pseudo code of the one-euro filter's paper, of one point (F, 2), forwards alone."""

    def alpha(cutoff: float) -> float:
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau * fps)

    (x, y), (dx, dy) = values[0], (0.0, 0.0)
    out = [(x, y)]
    for new_x, new_y in values[1:]:
        a = alpha(1.0)
        dx, dy = a * (new_x - x) * fps + (1 - a) * dx, a * (new_y - y) * fps + (1 - a) * dy
        a = alpha(min_cutoff + beta * np.sqrt(dx * dx + dy * dy))
        x, y = a * new_x + (1 - a) * x, a * new_y + (1 - a) * y
        out.append((x, y))
    return np.array(out)


@pytest.mark.parametrize(("fps", "min_cutoff", "beta"), [(25, 1.5, 10), (10, 0.3, 0), (60, 4, 2.5)])
def test_one_euro_is_the_papers_filter_in_both_directions(fps, min_cutoff, beta):
    xy = np.cumsum(np.random.default_rng(5).normal(0, 0.01, (30, 128, 2)), 0).astype(np.float32)
    seen = np.ones((30, 128), bool)
    found = one_euro(PoseSequence(xy, seen, seen), fps, min_cutoff=min_cutoff, beta=beta)
    for k in (0, 64, 127):
        both = [written_out(way.astype(np.float64), fps, min_cutoff, beta) for way in (xy[:, k], xy[::-1, k])]
        np.testing.assert_allclose(found.xy[:, k], (both[0] + both[1][::-1]) / 2, atol=1e-6)


def test_one_euro_starts_anew_after_a_gap():
    poses = perform(2, "talk", 20, 2)
    mask = poses.mask.copy()
    mask[9] = False
    gap = PoseSequence(poses.xy, poses.confidence, mask)
    whole = one_euro(gap, 10, min_cutoff=1, beta=1)
    parts = [one_euro(gap[part], 10, min_cutoff=1, beta=1) for part in (slice(0, 9), slice(10, 20))]
    np.testing.assert_array_equal(whole.xy[:9], parts[0].xy)
    np.testing.assert_array_equal(whole.xy[10:], parts[1].xy)


def test_gaps_are_filled_in_a_straight_line_up_to_their_limit():
    start = perform(2, "talk", 1, 2).xy
    line = start + np.arange(12)[:, None, None] * np.float32(0.01)
    mask = np.ones((12, 128), bool)
    mask[2:4, 7], mask[5:10, 8], mask[:3, 9] = False, False, False
    filled = fill_gaps(PoseSequence(line, mask, mask), max_gap=3)
    assert filled.mask[:, 7].all() and not filled.mask[5:10, 8].any() and not filled.mask[:3, 9].any()
    np.testing.assert_allclose(filled.xy[2:4, 7], line[2:4, 7], atol=1e-6)


@pytest.mark.parametrize("bad", [{"min_cutoff": 0.0}, {"beta": -1.0}, {"max_gap": -1}])
def test_bad_smoothing_is_refused(bad):
    with pytest.raises(UserError, match="smooth"):
        SmoothSettings(**bad)


def test_a_distance_is_the_mean_over_the_keypoints_that_both_show():
    clip = perform(2, "talk", 2, 2)
    hands = np.zeros(128, bool)
    hands[86:128] = True
    only = PoseSequence(clip.xy, clip.confidence, clip.mask & hands)
    moved = only.transformed((1, 1), (0.3, 0.4))
    np.testing.assert_allclose(distance_to_training(moved[0], clip[0]).distance, 0.5, atol=1e-6)


def test_distance_to_training_names_the_far_frames():
    clip = perform(2, "talk", 40, 2)
    training = clip[::5]
    near = distance_to_training(clip, training)
    np.testing.assert_allclose(near.distance[::5], 0)
    np.testing.assert_array_equal(near.nearest[::5], np.arange(8))
    assert near.far == [] and "no target pose is far" in near.describe()
    moved = PoseSequence.concatenate(clip[:3], clip[3:6].transformed((1, 1), (0.5, 0)), clip[6:8])
    far = distance_to_training(moved, training)
    assert far.far == [3, 4, 5] and "frames 3-5" in far.describe()
    assert distance_to_training(clip, clip[0]).threshold is None


def test_frames_without_a_person_are_said_to_be_such_and_not_to_be_infinitely_far():
    clip = perform(2, "talk", 40, 2)
    gone = clip.mask.copy()
    gone[:3] = False
    away = PoseSequence(clip.xy, clip.confidence, gone)
    beyond = PoseSequence.concatenate(away[:5], clip[5:8].transformed((1, 1), (0.5, 0)))
    nothing = "nothing that a training pose shows is seen in frames 0-2"
    for target, training, said in (
        (away, clip[::5], "no target pose is far"),
        (beyond, clip[::5], "3 of 8 target poses are far"),
        (away, clip[5], "one training pose"),
    ):
        found = distance_to_training(target, training)
        assert said in found.describe() and nothing in found.describe() and "inf" not in found.describe()
    assert found.far == [] and distance_to_training(beyond, clip[::5]).far == [0, 1, 2, 5, 6, 7]
