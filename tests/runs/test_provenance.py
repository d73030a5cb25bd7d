"""Settings and checksums that results are known by."""

import numpy as np
from omegaconf import OmegaConf

from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.runs.provenance import arrays_sha256, git_revision, plain_settings, poses_sha256


def test_settings_keep_what_they_took_from_keys_that_go():
    cfg = OmegaConf.create(
        {"steps": {"8": 5}, "n": 8, "trainer": {"max_steps": '${oc.select:"steps.${n}"}', "devices": 1}, "logger": {}}
    )
    assert plain_settings(cfg, ("steps", "trainer.devices", "logger.save_dir", "gone.key", "gone")) == {
        "n": 8,
        "trainer": {"max_steps": 5},
        "logger": {},
    }
    assert cfg.trainer.devices == 1, "the configuration itself stays"


def test_checksums_tell_shape_type_and_values_apart():
    values = np.arange(6, dtype=np.uint8)
    sums = [arrays_sha256(array) for array in (values, values.reshape(2, 3), values.astype(np.int8), values[::-1])]
    assert len(set(sums)) == 4 and arrays_sha256(values[::-1]) == arrays_sha256(values[::-1].copy())
    xy, seen = np.full((2, NUM_KEYPOINTS, 2), 0.5), np.ones((2, NUM_KEYPOINTS))
    poses = PoseSequence(xy, seen, seen)
    assert poses_sha256(poses) == poses_sha256(PoseSequence(xy, seen, seen)) != poses_sha256(poses[0])


def test_the_git_revision_is_a_commit():
    revision = git_revision()
    assert revision is None or (len(revision["commit"]) == 40 and revision["modified"] in (True, False))
