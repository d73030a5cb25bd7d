"""What is computed from real frames is computed once."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eval.metrics.base import NotComputable
from eval.networks.base import ClipNetwork, Network
from eval.networks.weights import WeightStore
from eval.scoring import clips
from eval.scoring.clip_store import ClipStore
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.features import ClipFeatures
from eval.scoring.protocol import Protocol
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


class Brighter(Counted):
    """Mean colours, times a factor that its name and weights do not say."""

    def __init__(self, name: str, digest: str, factor: float) -> None:
        super().__init__(name, digest)
        self.factor = factor

    def forward(self, frames_BCHW: torch.Tensor) -> torch.Tensor:
        return super().forward(frames_BCHW) * self.factor


class CountedWindows(ClipNetwork):
    """Mean colours of windows, and how many were looked at."""

    num_features = 3
    windows = 0

    def prepare(self, frames_FCHW: torch.Tensor) -> torch.Tensor:
        return frames_FCHW.float()

    def forward(self, clips_BFCHW: torch.Tensor) -> torch.Tensor:
        CountedWindows.windows += len(clips_BFCHW)
        return clips_BFCHW.mean((1, 3, 4))


def test_windows_of_another_protocol_or_network_are_looked_at_anew(tmp_path: Path) -> None:
    real, judges, rules = smooth_frames(24, 16, seed=0), networks(WeightStore(None, download=False)), protocol()

    def looked_at(stride: int, length: int = 16, *, name: str = "i3d") -> tuple[int, int]:
        before = CountedWindows.windows
        own = replace(rules, fvd=replace(rules.fvd, stride=stride, clip_length=length))
        view = ClipFeatures(ScoredClip("a", real, real, None), judges, own, FeatureStore(tmp_path))
        found = view.per_window(CountedWindows(name, "1"), "real")
        return len(found), CountedWindows.windows - before

    assert [looked_at(8), looked_at(8), looked_at(4), looked_at(8, 12)] == [(2, 2), (2, 0), (3, 3), (2, 2)]
    assert looked_at(8, name="resnet") == (2, 2)


def test_poses_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xy, seen = rng.random((3, NUM_KEYPOINTS, 2), np.float32), rng.random((3, NUM_KEYPOINTS)) > 0.5
    poses = PoseSequence(xy, rng.random(seen.shape, np.float32), seen)
    frames, store = arrays_sha256(smooth_frames(3, 16, seed=0)), FeatureStore(tmp_path)
    calls = []
    for _ in range(2):
        back = store.poses(frames, ["extractor"], lambda: calls.append(1) or poses, count=3)
        for name in ("xy", "confidence", "mask"):
            np.testing.assert_array_equal(getattr(back, name), getattr(poses, name))
    assert len(calls) == 1
    with pytest.raises(AssertionError, match="again"):
        store.poses(frames, ["extractor"], not_of_those, count=4)


def not_of_those() -> PoseSequence:
    raise AssertionError("again")


@pytest.mark.parametrize(
    "wrong",
    [
        torch.ones(4, 3),
        torch.ones(5, 2),
        torch.ones(5),
        torch.ones(5, 3, dtype=torch.int32),
        torch.full((5, 3), torch.nan),
    ],
)
def test_kept_features_that_are_not_of_those_frames_are_computed_again(tmp_path: Path, wrong: torch.Tensor) -> None:
    """A folder of features may have come from anybody."""
    real, network = smooth_frames(5, 16, seed=0), Counted("mean colour", "1")
    judges = networks(WeightStore(None, download=False))

    def features() -> torch.Tensor:
        return ClipFeatures(ScoredClip("a", real, real, None), judges, protocol(), FeatureStore(tmp_path)).per_frame(
            network, "real"
        )

    first = features()
    (path,) = tmp_path.glob("*.safetensors")
    save_file({"features": wrong}, path)
    torch.testing.assert_close(features(), first)
    before = Counted.frames
    torch.testing.assert_close(features(), first)
    assert Counted.frames == before, "written over"


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


def test_what_was_kept_of_another_protocol_or_judge_is_computed_anew(tmp_path: Path) -> None:
    frames, rules, kept = smooth_frames(4, 16, seed=0), protocol(), ClipStore(tmp_path)
    other = replace(rules, psnr=replace(rules.psnr, identical=50.0))
    clips_of = [ScoredClip("a", frames, frames, None)]

    def value(metric: str, rules: Protocol, *judge: Any) -> Any:
        judges = networks(WeightStore(None, download=False))
        judges.inception = lambda kind: Brighter(*judge)
        settings = ScoreSettings(metrics=(metric,), protocol=rules)
        return score(clips_of, settings, judges, done=kept).metrics[metric]

    assert (value("psnr", rules)["value"], value("psnr", other)["value"]) == (math.inf, 50)
    clips_of[0] = ScoredClip("a", frames, frames[:, ::-1] // 2, None)
    first, again, name, weights = (
        value("fid", rules, *judge) for judge in (("a", "1", 1.0), ("a", "1", 9.0), ("b", "1", 2.0), ("a", "2", 3.0))
    )
    assert first["value"] == again["value"], "kept: the judge says that it is the same"
    assert name["value"] == pytest.approx(4 * first["value"]) and weights["value"] == pytest.approx(9 * first["value"])
