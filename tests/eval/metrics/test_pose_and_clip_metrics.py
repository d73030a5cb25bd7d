"""MSE-P, CLIP-I and CLIP-T against brute-force loops."""

import itertools

import numpy as np
import pytest
import torch

from eval.metrics.base import NotComputable
from eval.metrics.clip_i import CLIPI
from eval.metrics.clip_t import CLIPT
from eval.metrics.mse_p import MSEP
from eval.metrics.mse_p_penalised import PenalisedMSEP
from src.common.errors import UserError
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence


def poses(count: int, seed: int, seen: float = 0.7) -> PoseSequence:
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(count, NUM_KEYPOINTS)) < seen
    return PoseSequence(rng.uniform(size=(count, NUM_KEYPOINTS, 2)), mask.astype(np.float32), mask)


def test_mse_p_is_the_mean_over_coordinates_seen_in_both() -> None:
    generated, real = poses(5, 0), poses(5, 1)
    squares, seen = [], 0
    for f, k in itertools.product(range(5), range(NUM_KEYPOINTS)):
        seen += bool(real.mask[f, k])
        if generated.mask[f, k] and real.mask[f, k]:
            squares += [(float(generated.xy[f, k, i]) - float(real.xy[f, k, i])) ** 2 for i in range(2)]
    metric = MSEP()
    metric.update(generated, real)
    assert metric.compute().item() == pytest.approx(np.mean(squares), rel=1e-12)
    assert metric.details() == {"frames": 5, "seen": pytest.approx(len(squares) / 2 / seen)}
    parts = [MSEP(), MSEP()]
    parts[0].update(generated[:2], real[:2])
    parts[1].update(generated[2:], real[2:])
    parts[0].merge_state(parts[1])
    assert parts[0].compute().item() == pytest.approx(metric.compute().item(), rel=1e-12)


def test_mse_p_of_equal_and_of_shifted_poses() -> None:
    real = poses(3, 0)
    for shift in (0.0, 0.01, 0.1):
        metric = MSEP()
        metric.update(real.transformed((1, 1), (shift, 0)), real)
        assert metric.compute().item() == pytest.approx(shift**2 / 2, rel=1e-3, abs=1e-12)


def test_mse_p_without_a_common_keypoint_has_no_value() -> None:
    metric = MSEP()
    metric.update(poses(2, 0, seen=0), poses(2, 0))
    with pytest.raises(NotComputable, match="no keypoint"):
        metric.compute()
    with pytest.raises(UserError, match="2 and 3 poses"):
        MSEP().update(poses(2, 0), poses(3, 0))


def test_clip_t_is_the_mean_over_pairs_then_over_videos() -> None:
    generator = torch.Generator().manual_seed(0)
    videos = [torch.randn(count, 8, generator=generator) + 1 for count in (5, 2)]
    metric = CLIPT()
    means = []
    for video in videos:
        metric.update(video)
        pairs = [torch.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(video, 2)]
        means.append(np.mean(pairs))
    assert metric.compute().item() == pytest.approx(np.mean(means), rel=1e-5)
    assert metric.details() == {"frames": 7, "videos": 2}


def test_a_still_video_reaches_the_best_clip_t_and_one_frame_has_none() -> None:
    still = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).expand(6, 8)
    metric = CLIPT()
    metric.update(still)
    assert metric.compute().item() == pytest.approx(1, abs=1e-6)
    with pytest.raises(NotComputable, match="at least 2"):
        metric.update(still[:1])


def test_clip_i_is_the_mean_cosine_to_the_reference() -> None:
    generator = torch.Generator().manual_seed(0)
    frames, reference = torch.randn(6, 8, generator=generator), torch.randn(8, generator=generator)
    metric = CLIPI()
    metric.update(frames, reference)
    loop = [float(f @ reference / f.norm() / reference.norm()) for f in frames]
    assert metric.compute().item() == pytest.approx(np.mean(loop), rel=1e-5)
    metric = CLIPI()
    metric.update(reference.expand(3, 8) * 2, reference)
    assert metric.compute().item() == pytest.approx(1, abs=1e-6), "length does not count"


def test_a_person_who_is_not_found_improves_mse_p_and_not_its_penalised_form() -> None:
    real = poses(10, 0, seen=1)
    found = real.transformed((1, 1), (0.02, 0))
    mask = np.zeros_like(found.mask)
    mask[3, :2] = True
    close = real.xy + np.float32(1e-3)
    lost = PoseSequence(close, mask.astype(np.float32), mask)
    values = {}
    for name, metric_class in (("plain", MSEP), ("penalised", PenalisedMSEP)):
        for side, generated in (("found", found), ("lost", lost)):
            metric = metric_class()
            metric.update(generated, real)
            values[name, side] = metric.compute().item()
            if name == "plain":
                assert metric.details()["seen"] == pytest.approx(1 if side == "found" else mask.sum() / mask.size)
    assert values["plain", "lost"] < values["plain", "found"], "the defect of the paper's metric"
    assert values["penalised", "lost"] > 10 * values["penalised", "found"]
    assert values["penalised", "found"] == values["plain", "found"], "the same where everything is found"
    spread = np.square(real.xy.astype(float) - real.xy.astype(float).mean(1, keepdims=True))
    spread[3, :2] = 1e-6
    assert values["penalised", "lost"] == pytest.approx(spread.mean(), rel=1e-3)
