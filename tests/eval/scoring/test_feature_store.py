"""What is computed from real frames is computed once."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.metrics.base import NotComputable
from eval.networks.base import Network
from eval.scoring import clips
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.features import ClipFeatures
from eval.scoring.score import score
from eval.scoring.settings import ScoreSettings
from src.common.digests import arrays_sha256
from src.common.errors import UserError
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.tracking import NobodyFound
from tests.eval.conftest import smooth_frames
from tests.eval.test_score import BrightestPoint, networks, protocol


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
    frames, store = arrays_sha256(smooth_frames(3, 16, seed=0)), FeatureStore(tmp_path)
    calls = []
    for _ in range(2):
        back = store.poses(frames, ["extractor"], lambda: calls.append(1) or poses)
        for name in ("xy", "confidence", "mask"):
            np.testing.assert_array_equal(getattr(back, name), getattr(poses, name))
    assert len(calls) == 1


def test_real_frames_are_hashed_once_for_all_that_is_asked_of_them(
    tmp_path: Path, random_weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[np.ndarray] = []

    def counting(*arrays: np.ndarray) -> str:
        hashed.extend(arrays)
        return arrays_sha256(*arrays)

    monkeypatch.setattr(clips, "arrays_sha256", counting)
    real, made = smooth_frames(2, 16, seed=0), smooth_frames(2, 16, seed=1)
    store, judges, rules = FeatureStore(tmp_path), networks(random_weights), protocol()
    for run in (1, 2):  # the first keeps, the second finds
        clip = ScoredClip("a", made, real, None)
        view = ClipFeatures(clip, judges, rules, store)
        for name in ("one", "two", "three"):
            view.per_frame(Counted(name, "1"), "real")
        found = score([clip], ScoreSettings(metrics=("psnr",), protocol=rules), judges, store=store)
        assert found.inputs["a"]["real_sha256"] == arrays_sha256(real)
        assert sum(array is real for array in hashed) == run
    assert len(list(tmp_path.iterdir())) == 3


def test_an_extractor_that_cannot_work_is_told_from_one_that_sees_nobody(tmp_path: Path, random_weights) -> None:
    """Also where the real frames' poses were kept, so that it is asked for the generated ones alone."""
    frames, store = smooth_frames(3, 32, seed=0), FeatureStore(tmp_path)

    class Moody(BrightestPoint):
        error: UserError | None = None

        def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
            if self.error is not None:
                raise self.error
            return super().extract(frames, total=total)

    def views(extractor: Moody) -> tuple[PoseSequence, PoseSequence]:
        return ClipFeatures(ScoredClip("a", frames, frames, None), judges, protocol(), store).poses(extractor)

    judges, extractor = networks(random_weights), Moody()
    assert all(poses.mask.all() for poses in views(extractor))
    extractor.error = UserError("its weights are not there")
    with pytest.raises(NotComputable, match="generated frames of a: its weights are not there"):
        views(extractor)
    extractor.error = NobodyFound("nobody")
    generated, real = views(extractor)
    assert real.mask.all() and not generated.mask.any()
