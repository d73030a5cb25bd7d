"""What is computed from real frames is computed once."""

from pathlib import Path

import numpy as np
import torch

from eval.networks.base import Network
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.features import ClipFeatures
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from tests.eval.conftest import smooth_frames
from tests.eval.test_score import networks, protocol


class Counted(Network):
    """Mean colours, and how many frames were looked at."""

    num_features = 3
    frames = 0

    def forward(self, frames_BCHW: torch.Tensor) -> torch.Tensor:
        Counted.frames += len(frames_BCHW)
        return frames_BCHW.float().mean((2, 3))


def test_real_features_are_kept_for_the_same_frames_and_network(tmp_path: Path, random_weights) -> None:
    real, other = smooth_frames(5, 32, seed=0), smooth_frames(5, 32, seed=1)
    expected = torch.from_numpy(real).float().mean((1, 2))

    def looked_at(frames: np.ndarray, weights: str) -> int:
        network, judges = Counted("mean colour", weights), networks(random_weights)
        before = Counted.frames
        view = ClipFeatures(ScoredClip("a", other, frames, None), judges, protocol(), FeatureStore(tmp_path))
        if frames is real:
            torch.testing.assert_close(view.per_frame(network, "real"), expected)
        else:
            view.per_frame(network, "real")
        between = Counted.frames
        view.per_frame(network, "generated")
        assert Counted.frames - between == 5, "generated frames are always looked at"
        return between - before

    assert [looked_at(real, "1"), looked_at(real, "1")] == [5, 0]
    assert [looked_at(real, "2"), looked_at(other, "1"), looked_at(real, "1")] == [5, 5, 0]


def test_poses_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xy, seen = rng.random((3, NUM_KEYPOINTS, 2), np.float32), rng.random((3, NUM_KEYPOINTS)) > 0.5
    poses = PoseSequence(xy, rng.random(seen.shape, np.float32), seen)
    frames, store = smooth_frames(3, 16, seed=0), FeatureStore(tmp_path)
    calls = []
    for _ in range(2):
        back = store.poses(frames, ["extractor"], lambda: calls.append(1) or poses)
        for name in ("xy", "confidence", "mask"):
            np.testing.assert_array_equal(getattr(back, name), getattr(poses, name))
    assert len(calls) == 1
