"""The two parts of a clip: which frames and poses each holds, and what tells training clips apart."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from src.data.settings import DataSettings
from src.data.subject import Subject
from src.data.subject_split import split_subject
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence


@pytest.fixture
def subject() -> Subject:
    """Frame i is filled with i, and its keypoints are at i/100; in two frames nobody is seen."""
    count = np.arange(20)
    mask = np.ones((20, NUM_KEYPOINTS), bool)
    mask[[3, 7]] = False
    xy = np.broadcast_to(count[:, None, None] / 100, (20, NUM_KEYPOINTS, 2)).astype(np.float32)
    frames = np.broadcast_to(count.astype(np.uint8)[:, None, None, None], (20, 8, 8, 3)).copy()
    poses = PoseSequence(xy, mask.astype(np.float32), mask)
    return Subject("counted", frames, poses, Fraction(10), "a person", {"source": {"sha256": "0" * 64}})


def test_each_part_has_its_own_frames_and_poses(subject):
    split = split_subject(subject, DataSettings(num_frames=4, num_test_frames=5))
    assert split.test_indices == [15, 16, 17, 18, 19] and len(split.training_indices) == 4
    assert max(split.training_indices) < 15 and not {3, 7} & set(split.training_indices)
    for indices, frames, poses in (
        (split.training_indices, split.training.frames, split.training.poses),
        (split.test_indices, split.test_frames, split.test_poses),
    ):
        assert frames[:, 0, 0, 0].tolist() == indices
        np.testing.assert_allclose(poses.xy[:, 0, 0], np.array(indices) / 100, atol=1e-6)


def test_another_keypoint_pixel_or_condition_is_another_clip(subject):
    clip = split_subject(subject, DataSettings(num_frames=4, num_test_frames=5)).training
    xy, frames = clip.poses.xy.copy(), clip.frames.copy()
    xy[2, 5, 0] += 0.01
    frames[1, 3, 4, 0] += 1
    conditions = (frames,)
    others = [
        replace(clip, poses=PoseSequence(xy, clip.poses.confidence, clip.poses.mask)),
        replace(clip, frames=frames),
        replace(clip, conditions=conditions),
        replace(clip, conditions=(clip.frames,)),
    ]
    found = [str(sorted(each.checksums().items())) for each in (clip, *others)]
    assert len(set(found)) == 5
