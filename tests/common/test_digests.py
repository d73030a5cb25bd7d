"""Checksums that results are known by."""

import numpy as np

from src.common.digests import arrays_sha256
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence


def test_checksums_tell_shape_type_and_values_apart():
    values = np.arange(6, dtype=np.uint8)
    sums = [arrays_sha256(array) for array in (values, values.reshape(2, 3), values.astype(np.int8), values[::-1])]
    assert len(set(sums)) == 4 and arrays_sha256(values[::-1]) == arrays_sha256(values[::-1].copy())
    xy, seen = np.full((2, NUM_KEYPOINTS, 2), 0.5), np.ones((2, NUM_KEYPOINTS))
    poses = PoseSequence(xy, seen, seen)
    assert poses.sha256() == PoseSequence(xy, seen, seen).sha256() != poses[0].sha256()
