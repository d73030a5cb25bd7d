"""The split of Sec. 5.1, and what becomes of clips that are too short for it."""

import logging

import pytest

from src.common.errors import UserError
from src.data.split import split_frames


@pytest.mark.parametrize("num_frames", [132, 155, 160, 288])
@pytest.mark.parametrize("num_train", [1, 8, 32])
def test_long_clips_follow_the_paper(num_frames, num_train, caplog):
    split = split_frames(num_frames, num_train=num_train, num_test=100)
    assert split.test == tuple(range(num_frames - 100, num_frames))
    assert split.num_available == num_frames - 100
    assert not caplog.records


@pytest.mark.parametrize("num_frames", range(2, 140, 3))
@pytest.mark.parametrize("num_train", [1, 2, 5, 8, 32])
@pytest.mark.parametrize("num_test", [0, 1, 24, 100])
def test_every_split_is_sound(num_frames, num_train, num_test):
    most = num_frames if not num_test else max(num_frames - num_test, min(32, num_frames // 2))
    if num_train > most:
        with pytest.raises(UserError, match="frames"):
            split_frames(num_frames, num_train=num_train, num_test=num_test)
        return
    split = split_frames(num_frames, num_train=num_train, num_test=num_test)
    assert len(set(split.train)) == num_train and list(split.train) == sorted(split.train)
    assert split.train[0] == 0 and (num_train == 1 or split.train[-1] == split.num_available - 1)
    assert split.test == tuple(range(split.num_available, num_frames))
    assert len(split.test) <= num_test and bool(split.test) == bool(num_test)
    step = (split.num_available - 1) / max(num_train - 1, 1)
    assert all(abs(index - i * step) <= 0.5 + 1e-9 for i, index in enumerate(split.train)), "not the nearest frames"
    gaps = [b - a for a, b in zip(split.train, split.train[1:], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1, "training frames are not uniform"


def test_short_clips_keep_most_of_what_the_paper_trains_on_and_say_so(caplog):
    with caplog.at_level(logging.WARNING):
        split = split_frames(50, num_train=8, num_test=100)
    assert split.num_available == 25 and len(split.test) == 25
    assert "a clip of 50 frames is too short to hold out 100: the last 25" in caplog.text
    assert split_frames(20, num_train=8, num_test=100).num_available == 10


@pytest.mark.parametrize("num_frames", [2, 9, 12, 15])
def test_a_clip_that_is_too_short_is_told_settings_that_do(num_frames):
    with pytest.raises(UserError, match="use a longer clip, or set ") as refused:
        split_frames(num_frames, num_train=8, num_test=100)
    for way in str(refused.value).split("or set ")[1:]:
        name, value = way.strip(" ,").split("=")
        given = {"data.num_frames": 8, "data.num_test_frames": 100}
        given[name] = int(value)
        split = split_frames(num_frames, num_train=given["data.num_frames"], num_test=given["data.num_test_frames"])
        assert len(given) == 2 and split.train and split.test
    with pytest.raises(UserError, match="use a longer clip$"):
        split_frames(1, num_train=8, num_test=100)
    with pytest.raises(UserError, match=r"use a longer clip, or set data\.num_frames=5$"):
        split_frames(5, num_train=8, num_test=0)


@pytest.mark.parametrize("num_frames", [64, 110, 131, 200])
def test_8_and_32_training_frames_leave_the_same_test_frames(num_frames):
    splits = [split_frames(num_frames, num_train=n, num_test=100) for n in (8, 16, 32)]
    assert len({split.test for split in splits}) == 1


def test_the_rendered_benchmark_has_32_and_24():
    split = split_frames(56, num_train=32, num_test=24)
    assert split.train == tuple(range(32)) and len(split.test) == 24


def test_numbers_that_make_no_sense():
    for num_train, num_test in ((0, 10), (8, -1)):
        with pytest.raises(UserError, match="at least"):
            split_frames(100, num_train=num_train, num_test=num_test)


def test_frames_without_the_person_are_not_trained_on(caplog):
    unseen = [0, 1, 9, 15, 40]
    split = split_frames(50, num_train=8, num_test=10, unseen=unseen)
    assert not set(split.train) & set(unseen) and (split.train[0], split.train[-1]) == (2, 39)
    assert split.test == tuple(range(40, 50)) and len(set(split.train)) == 8
    assert "frames 0-1, 9, 15, which training leaves out" in caplog.text
    with pytest.raises(UserError, match="the person is seen in 2 of the 12 frames"):
        split_frames(20, num_train=3, num_test=8, unseen=range(10))
