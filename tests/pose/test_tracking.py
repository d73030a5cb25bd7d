"""Properties of following one person among several."""

import logging

import numpy as np
import pytest

from src.common.errors import UserError
from src.pose.tracking import MAX_MISSED_FRAMES, Detection, PersonChoice, follow, select_person

SHAPE_K2 = np.random.default_rng(7).uniform(-0.5, 0.5, (128, 2))


def person(x: float, y: float = 0.5, *, size: float = 0.2, seen: slice = slice(None)) -> Detection:
    confidence = np.zeros(128)
    confidence[seen] = 0.9
    return Detection(SHAPE_K2 * size + (x, y), confidence)


def indices(people_F: list[list[Detection]], choice: PersonChoice = "largest") -> list[int | None]:
    return follow(people_F, choice).indices(len(people_F))


def test_follows_the_largest_whatever_the_order_of_detections():
    rng = np.random.default_rng(0)
    people_F, expected = [], []
    for f in range(30):
        people = [person(0.2 + 0.01 * f, size=0.15), person(0.7, 0.4, size=0.4), person(0.5, 0.9, size=0.1)]
        order = rng.permutation(3)
        people_F.append([people[i] for i in order])
        expected.append(int(np.flatnonzero(order == 1)[0]))
    assert indices(people_F) == expected


def test_largest_over_the_clip_not_in_one_frame():
    """A passer-by who is briefly larger is not followed."""
    people_F = [[person(0.3, size=0.3)] + ([person(0.7, size=0.6)] if 3 <= f < 6 else []) for f in range(20)]
    assert indices(people_F) == [0] * 20


@pytest.mark.parametrize("seed", range(5))
def test_crossing_people_keep_their_identity(seed):
    """Two people of equal shape walk through each other; nearest neighbours alone would swap them."""
    rng = np.random.default_rng(seed)
    people_F, expected = [], []
    for f in range(41):
        jitter = rng.normal(0, 0.001, (2, 2))
        a = person(0.1 + 0.02 * f + jitter[0, 0], 0.5 + jitter[0, 1], size=0.22)
        b = person(0.9 - 0.02 * f + jitter[1, 0], 0.5 + jitter[1, 1], size=0.2)
        swap = bool(rng.integers(2))
        people_F.append([b, a] if swap else [a, b])
        expected.append(int(swap))
    assert indices(people_F) == expected


def test_gap_is_bridged_and_reported(caplog):
    people_F = [[person(0.2 + 0.01 * f), person(0.8, size=0.1)] for f in range(20)]
    for f in (5, 6, 7, 12):
        people_F[f] = people_F[f][1:]
    with caplog.at_level(logging.INFO):
        poses = select_person(people_F, source="test")[0]
    unseen = np.flatnonzero(~poses.mask.any(1))
    assert unseen.tolist() == [5, 6, 7, 12]
    assert np.allclose(poses.xy[15], people_F[15][0].xy)
    assert "not found in 4 of 20 frames: 5-7, 12" in caplog.text
    assert "up to 2 people" in caplog.text


def test_one_person_is_followed_through_every_frame():
    rng = np.random.default_rng(3)
    people_F = [[person(0.5 + 0.1 * np.sin(f / 5), 0.5 + rng.normal(0, 0.005))] for f in range(50)]
    poses = select_person(people_F, source="test")[0]
    assert poses.mask.all()
    assert np.array_equal(poses.xy, np.float32([people[0].xy for people in people_F]))


def test_alone_in_every_frame_jumps_do_not_matter():
    people_F = [[person(0.1)], [person(0.9)], [], [person(0.1, 0.9, size=0.01)]]
    assert indices(people_F) == [0, 0, None, 0]


def test_another_person_in_view_is_never_taken_for_the_missing_one():
    people_F = [[person(0.2, size=0.3), person(0.8, size=0.2)] for _ in range(10)] + [[person(0.8, size=0.2)]] * 5
    assert indices(people_F) == [0] * 10 + [None] * 5


def test_a_passer_by_who_is_gone_does_not_take_over_whoever_is_in_view():
    people_F = [[person(0.5 + 0.15 * np.sin(f / 6), size=0.3)] for f in range(200)]
    for people in people_F[:3]:
        people.append(person(0.55, 0.62, size=0.27))
    assert indices(people_F) == [0] * 200
    assert [len(found) for found in follow(people_F).people] == [200, 3]


def test_a_false_detection_does_not_join_people_who_are_far_from_it():
    """Of two people one leaves, and long after the other comes; for two frames a bag was taken for a person."""
    left, right, bag = person(0.2), person(0.8), person(0.55, 0.9, size=0.1)
    people_F = [[left]] * 40 + [[]] * 20 + [[right]] * 50
    people_F[5] = people_F[6] = [left, bag]
    frames = [sorted(found) for found in follow(people_F).people]
    assert frames == [list(range(60, 110)), list(range(40)), [5, 6]]


@pytest.mark.parametrize(("missed", "people"), [(MAX_MISSED_FRAMES, 2), (MAX_MISSED_FRAMES + 1, 3)])
def test_who_comes_back_is_the_same_for_a_time(missed, people):
    other = person(0.8, size=0.1)
    people_F = [[person(0.2), other], *[[other]] * missed, [other, person(0.2)]]
    assert len(follow(people_F).people) == people


def test_few_common_keypoints_still_link():
    """Face seen first, body later: linked by their centres."""
    far = person(0.9, size=0.05)
    people_F = [[far, person(0.5, seen=slice(0, 18))], [person(0.5, seen=slice(18, 86)), far], [far, person(0.5)]]
    assert indices(people_F) == [1, 0, 1]


def test_nobody_is_an_error_that_names_the_source():
    nobody = Detection(np.zeros((128, 2)), np.zeros(128))
    with pytest.raises(UserError, match=r"clip\.json: no person found in the 3 frames"):
        select_person([[], [nobody], []], source="clip.json")


@pytest.mark.parametrize(("choice", "followed"), [("largest", 1), ("left", 0), ("right", 1), (0, 1), (1, 0), (2, 2)])
def test_a_person_is_chosen_and_kept_through_a_crossing(choice, followed):
    """The smaller one starts at the left and ends at the right; a passer-by further left is seen in few frames."""
    people_F = []
    for f in range(41):
        people = [person(0.1 + 0.02 * f, 0.5, size=0.2), person(0.9 - 0.02 * f, 0.5, size=0.22)]
        people_F.append(people + ([person(0.02, 0.9, size=0.05)] if 3 <= f < 8 else []))
    expected = [followed if followed < len(people) else None for people in people_F]
    assert indices(people_F, choice) == expected


@pytest.mark.parametrize(("frames", "followed"), [(10, 1), (9, 0)])
def test_who_is_seen_in_half_as_many_frames_as_another_may_be_chosen_by_side(frames, followed):
    people_F = [[person(0.7, size=0.3)] + ([person(0.1, size=0.05)] if 5 <= f < 5 + frames else []) for f in range(20)]
    assert follow(people_F, "left").chosen == followed


def test_a_number_that_nobody_has_is_refused():
    with pytest.raises(UserError, match=r"pose\.person=2: 2 people found, numbered from 0"):
        indices([[person(0.2), person(0.8)]], 2)
