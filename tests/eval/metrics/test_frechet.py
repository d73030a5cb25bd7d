"""The Fréchet distance against a float64 matrix root, and its merging state."""

import numpy as np
import pytest
import scipy.linalg
import torch

from eval.metrics.base import NotComputable
from eval.metrics.fid import FID
from eval.metrics.frechet import frechet_distance
from eval.metrics.frechet_interval import frechet_interval
from eval.metrics.fvd import FVD, clip_starts, cut_clips
from src.common.errors import UserError


def features(count: int, dimension: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimension, dimension)) / dimension**0.5
    return torch.from_numpy(rng.normal(size=(count, dimension)) @ mixing + shift)


def distance(generated: torch.Tensor, real: torch.Tensor) -> FID:
    metric = FID(generated.shape[1])
    metric.update(generated, real=False, frames=len(generated))
    metric.update(real, real=True, frames=len(real))
    return metric


def by_matrix_root(x: np.ndarray, y: np.ndarray) -> float:
    root = scipy.linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False))
    trace = np.trace(np.cov(x, rowvar=False)) + np.trace(np.cov(y, rowvar=False)) - 2 * np.trace(root).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + trace)


def by_singular_values(x: np.ndarray, y: np.ndarray) -> float:
    """Exact for any rank: tr (C1 C2)^½ is the nuclear norm of the cross product of the centred samples."""
    cx, cy = (s - s.mean(0) for s in (x, y))
    nuclear = np.linalg.svd(cx @ cy.T, compute_uv=False).sum() / np.sqrt((len(x) - 1) * (len(y) - 1))
    trace = (cx**2).sum() / (len(x) - 1) + (cy**2).sum() / (len(y) - 1) - 2 * nuclear
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + trace)


def test_equals_the_matrix_root_at_full_rank() -> None:
    x, y = features(200, 12, 0), features(150, 12, 1, shift=0.3)
    value = distance(x, y).compute().item()
    assert value == pytest.approx(by_matrix_root(x.numpy(), y.numpy()), rel=1e-9)
    assert value == pytest.approx(by_singular_values(x.numpy(), y.numpy()), rel=1e-9)
    assert "note" not in distance(x, y).details()


def test_is_exact_with_fewer_samples_than_features_and_says_so() -> None:
    x, y = features(7, 40, 0), features(9, 40, 1)
    metric = distance(x, y)
    assert metric.compute().item() == pytest.approx(by_singular_values(x.numpy(), y.numpy()), rel=1e-6)
    assert metric.details()["real_frames"] == 9
    assert "7 frames for 40 features, at least 41" in metric.details()["note"]


def test_identical_sets_are_at_distance_zero_and_growing_shifts_grow() -> None:
    x = features(60, 16, 0)
    values = [distance(x + shift, x).compute().item() for shift in (0.0, 0.1, 0.5)]
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert values[1] == pytest.approx(16 * 0.1**2, rel=1e-6), "a pure shift costs its squared length"
    assert values[0] < values[1] < values[2]


def test_merged_states_equal_one_pass() -> None:
    x, y = features(30, 8, 0), features(30, 8, 1)
    first, second = distance(x[:10], y[:4]), distance(x[10:], y[4:])
    first.merge_state(second)
    assert first.compute().item() == pytest.approx(distance(x, y).compute().item(), rel=1e-9)
    assert first.details()["frames"] == 30


def test_too_few_samples_and_nan_are_refused() -> None:
    x = features(5, 8, 0)
    with pytest.raises(NotComputable, match="at least 2 frames"):
        distance(x, x[:1]).compute()
    with pytest.raises(UserError, match="not finite"):
        distance(x, torch.full_like(x, torch.nan))


@pytest.mark.parametrize(
    ("stride", "drop_last", "count"), [(16, False, 2), (1, False, 25), (1, True, 24), (5, False, 5)]
)
def test_a_video_is_cut_into_clips(stride: int, drop_last: bool, count: int) -> None:
    video = torch.arange(40)[:, None, None, None].expand(40, 3, 2, 2)
    starts = clip_starts(40, clip_length=16, stride=stride, drop_last=drop_last)
    clips = cut_clips(video, starts, 16)
    assert clips.shape == (count, 16, 3, 2, 2)
    for clip, start in zip(clips, starts, strict=True):
        assert clip[:, 0, 0, 0].tolist() == list(range(start, start + 16))


def test_a_short_video_gives_no_clip() -> None:
    with pytest.raises(NotComputable, match="at least 16 frames, got one of 15"):
        clip_starts(15, clip_length=16, stride=16, drop_last=False)
    assert FVD.unit == "clips"


def by_moments(x: torch.Tensor, y: torch.Tensor) -> float:
    """As FID is mostly computed: the root of the product of covariances, here by eigenvalues in float64."""
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ torch.cov(y.T) @ root).clamp(min=0).sqrt().sum()
    trace = torch.cov(x.T).trace() + torch.cov(y.T).trace() - 2 * product
    return float((x.mean(0) - y.mean(0)).square().sum() + trace)


def test_the_distance_is_that_of_the_moments() -> None:
    generator = torch.Generator().manual_seed(0)
    # Fewer samples than dimensions: square roots of eigenvalues that are zero but for rounding.
    for counts, rel in (((12, 30), 1e-8), ((90, 70), 1e-12), ((5, 90), 1e-8)):
        x, y = (torch.randn(count, 40, generator=generator, dtype=torch.float64) + 1 for count in counts)
        x = x @ torch.randn(40, 40, generator=generator, dtype=torch.float64)
        assert float(frechet_distance(x, y)) == pytest.approx(by_moments(x, y), rel=rel)


def test_it_is_exact_near_zero_where_the_covariances_are_singular() -> None:
    """The truth is known: a shift of the samples costs its squared length and nothing else."""
    generator = torch.Generator().manual_seed(0)
    x = 10 * torch.randn(18, 400, generator=generator).double()
    shift = 1e-4 * torch.randn(400, generator=generator).double()
    metric = FVD(400)
    metric.update(x + shift, real=False, frames=18)
    metric.update(x, real=True, frames=18)
    truth = float(shift.square().sum())
    assert metric.compute().item() == pytest.approx(truth, rel=1e-4)
    assert by_moments(x + shift, x) != pytest.approx(truth, rel=1e-2), "a root would be off"


def test_intervals_hold_the_value_and_widen_with_the_subjects_spread() -> None:
    generator = torch.Generator().manual_seed(0)

    def subjects(spread: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
        pairs = []
        for _ in range(8):
            real = torch.randn(20, 6, generator=generator)
            pairs.append((real + 1 + spread * torch.randn(6, generator=generator), real))
        return pairs

    widths = []
    for spread in (0.01, 1.0):
        pairs = subjects(spread)
        value = float(frechet_distance(*(torch.cat(side).double() for side in zip(*pairs, strict=True))))
        low, high = frechet_interval(pairs, value)
        assert 0 <= low <= value <= high
        assert (low, high) == frechet_interval(pairs, value)
        widths.append(high - low)
    assert widths[0] < widths[1]
    assert frechet_interval(pairs[:4], 1.0) is None and frechet_interval(pairs[:5], 1.0) is not None
    equal = [(real, real) for _, real in pairs]
    assert frechet_interval(equal, 0.0) is None, "a distance of 0 has no logarithm"


@pytest.mark.parametrize("subjects", [5, 10, 24])
def test_the_interval_covers_what_as_many_subjects_give_on_average(subjects: int) -> None:
    """24 subjects are left out by groups."""
    generator = torch.Generator().manual_seed(subjects)

    def study() -> list[tuple[torch.Tensor, torch.Tensor]]:
        own = torch.randn(subjects, 1, 6, generator=generator, dtype=torch.float64)
        real = own + 0.5 * torch.randn(subjects, 12, 6, generator=generator, dtype=torch.float64)
        shift = 0.3 + 0.4 * torch.randn(subjects, 1, 6, generator=generator, dtype=torch.float64)
        return list(zip(0.9 * real + shift, real, strict=True))

    def value(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
        return float(frechet_distance(*(torch.cat(side) for side in zip(*pairs, strict=True))))

    expected = np.mean([value(study()) for _ in range(200)])
    studies = [study() for _ in range(150)]
    ends = [frechet_interval(pairs, value(pairs)) for pairs in studies]
    assert 0.9 <= np.mean([low <= expected <= high for low, high in ends]) <= 0.99
