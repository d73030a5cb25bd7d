"""Intervals over few subjects cover what they say, by simulation; tests and corrections against brute force."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from eval.metrics.frechet_interval import MIN_SUBJECTS
from eval.reporting.intervals import holm, mean_estimate, over_replicates, paired_difference, studentised
from src.common.errors import UserError

STUDIES, RESAMPLES = 250, 599


def lognormal(sigma: float):
    return lambda rng, shape: rng.lognormal(-(sigma**2) / 2, sigma, shape) - 1


EFFECTS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "lognormal 0.25": lognormal(0.25),
    "lognormal 0.5": lognormal(0.5),
}


def coverage(effects, subjects: int, *, batches: int = 8, weighted: bool = False) -> tuple[float, float]:
    """Share of intervals that hold the true mean, 0: ours and Student's t."""
    rng = np.random.default_rng(subjects)
    ours, student = [], []
    for seed in range(batches):
        values = effects(rng, (STUDIES, subjects))
        weights = rng.integers(50, 400, values.shape).astype(float) if weighted else np.ones_like(values)
        low, high = studentised(values, weights, resamples=RESAMPLES, seed=seed)
        ours.append(np.mean((low <= 0) & (high >= 0)))
        student.append(np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue >= 0.05))
    return float(np.mean(ours)), float(np.mean(student))


@pytest.mark.parametrize("subjects", [5, 10, 20])
@pytest.mark.parametrize("effects", EFFECTS)
def test_95_percent_covers_93_to_97(effects: str, subjects: int) -> None:
    ours, _ = coverage(EFFECTS[effects], subjects)
    assert 0.93 <= ours <= 0.97, f"{effects}, {subjects} subjects: {ours:.3f}"


def test_students_t_alone_would_not() -> None:
    _, student = coverage(EFFECTS["lognormal 0.5"], 5)
    assert student < 0.93


def test_unequal_weights_are_covered_too() -> None:
    ours, _ = coverage(EFFECTS["normal"], 10, weighted=True)
    assert 0.93 <= ours <= 0.97


def test_seeds_are_replicates_of_a_subject_and_no_subjects() -> None:
    rng = np.random.default_rng(0)
    subjects, seeds = 10, 3
    values = rng.normal(size=(600, subjects, 1)) + rng.normal(size=(600, subjects, seeds))
    means = values.mean(-1)
    low, high = studentised(means, np.ones_like(means), resamples=RESAMPLES, seed=0)
    assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.97
    flat = values.reshape(600, -1)
    low, high = studentised(flat, np.ones_like(flat), resamples=RESAMPLES, seed=0)
    assert np.mean((low <= 0) & (high >= 0)) < 0.9
    runs = [{"anna": 1.0, "ben": 4.0}, {"ben": 6.0, "anna": 2.0}]
    assert over_replicates(runs) == {"anna": 1.5, "ben": 5.0}
    with pytest.raises(UserError, match="carl"):
        over_replicates([*runs, {"anna": 1.0, "carl": 1.0}])
    with pytest.raises(UserError, match="at least one seed"):
        over_replicates([])


def test_too_few_subjects_have_no_interval_and_equal_ones_no_width() -> None:
    few = mean_estimate([1.0, 2.0, 4.0, 5.0], [1] * 4)
    assert few is not None and few.value == 3 and few.interval is None and MIN_SUBJECTS == 5
    assert mean_estimate([1.0, 2.0, 4.0, math.inf, 5.0], [1] * 5) == few, "an infinite PSNR is no subject"
    assert mean_estimate([math.inf], [1]) is None
    assert mean_estimate([0.7] * 6, [1, 2, 3, 4, 5, 6]).interval == (pytest.approx(0.7), pytest.approx(0.7))
    low, high = mean_estimate([0.0] * 5 + [1.0], [1] * 6).interval
    assert low <= 1 / 6 <= high and np.isfinite([low, high]).all(), "resamples without spread give no infinite end"


def test_the_same_data_give_the_same_interval_and_scale_with_their_unit() -> None:
    values, weights = [0.2, 0.5, 0.1, 0.9, 0.4, 0.45], [30, 30, 60, 30, 45, 30]
    first = mean_estimate(values, weights)
    assert first == mean_estimate(values, weights)
    assert first.value == pytest.approx(np.average(values, weights=weights))
    scaled = mean_estimate([1000 * value + 7 for value in values], weights)
    assert scaled.interval == pytest.approx([1000 * end + 7 for end in first.interval])


def test_paired_differences_have_the_exact_sign_flip_p_value() -> None:
    ours = {"a": 3.0, "b": 2.5, "c": 4.0, "d": 1.0, "e": 6.0, "f": 2.0, "only ours": 9.0, "same": math.inf}
    base = {"a": 2.0, "b": 2.7, "c": 1.0, "d": 0.5, "e": 3.0, "f": 1.5, "only theirs": 0.0, "same": math.inf}
    weights = {name: 1.0 + index for index, name in enumerate({**ours, **base})}
    names = list("abcdef")
    products = np.array([(ours[name] - base[name]) * weights[name] for name in names])
    flips = np.array(list(itertools.product([1, -1], repeat=6)))
    extreme = np.abs(flips @ products) >= abs(products.sum()) - 1e-12
    result = paired_difference(ours, base, weights)
    assert result.p_value == pytest.approx(extreme.mean())
    assert result.num_subjects == 6
    assert result.value == pytest.approx(products.sum() / sum(weights[name] for name in names))
    five = paired_difference({n: ours[n] for n in "acdef"}, base, weights)
    assert five.p_value == pytest.approx(0.0625), "five subjects all one way are as far as five can go"
    assert paired_difference({"a": 1.0}, {"b": 1.0}, weights) is None
    assert paired_difference({"a": 1.0}, {"a": 3.0}, weights).p_value is None


def test_the_test_weighs_subjects_as_the_mean_does() -> None:
    """The one that is against all others decides where it weighs most."""
    differences, weights = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 40.0]
    names = list("abcdef")
    values, base = dict(zip(names, differences, strict=True)), dict.fromkeys(names, 0.0)
    assert paired_difference(values, base, dict.fromkeys(names, 1.0)).p_value == pytest.approx(14 / 64)
    weighted = paired_difference(values, base, dict(zip(names, weights, strict=True)))
    assert weighted.p_value == 1, "whatever the signs, the sum is at least 35 from 0"


def test_the_long_arm_of_an_interval_is_on_the_side_of_the_long_tail() -> None:
    """Few large values pull the mean up and widen its error with it, so that the truth may lie far above a low mean."""
    values = np.random.default_rng(0).lognormal(0, 1, 20)
    estimate = mean_estimate(list(values), [1.0] * 20)
    low, high = estimate.interval
    assert high - estimate.value > 1.3 * (estimate.value - low)
    rng, error = np.random.default_rng(7), values.std(ddof=1) / math.sqrt(20)
    resamples = values[rng.integers(0, 20, (20_000, 20))]
    t = (resamples.mean(1) - values.mean()) / (resamples.std(1, ddof=1) / math.sqrt(20))
    assert high == pytest.approx(values.mean() - np.quantile(t, 0.025) * error, rel=0.05)
    mirrored = mean_estimate(list(-values), [1.0] * 20)
    assert mirrored.interval == pytest.approx((-high, -low))


def test_holm_rejects_what_its_steps_reject() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_values = rng.uniform(0, 0.2, 6)
        adjusted = holm(list(p_values))
        rejected = np.zeros(6, bool)
        for step, index in enumerate(np.argsort(p_values)):  # step down until one fails
            if p_values[index] > 0.05 / (6 - step):
                break
            rejected[index] = True
        assert [value <= 0.05 for value in adjusted] == list(rejected)
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
