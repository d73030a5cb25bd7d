"""Intervals and tests over few subjects: how far a mean, or a difference of two methods, is to be trusted.

A subject is the unit that is drawn at random; its frames and seeds are not. Dimensions: S subjects, R resamples,
X studies.

The interval is the studentised bootstrap of the weighted mean over subjects, each end no nearer than that of Student's
t at 93 %: a resample of five is too narrow on the side of the short tail. Coverage in % of intervals meant for 95 %,
of 12,000 simulated studies each (standard error 0.2), with equal weights:

    subject effects      S    this  Student's t   BCa   percentile
    normal               5    96.6      95.2     83.9       84.0
                        10    95.6      95.4     90.2       90.4
                        20    95.0      94.7     92.3       92.6
    lognormal, σ 0.25    5    95.6      94.0     83.2       83.2
                        10    95.2      94.4     89.7       89.7
                        20    95.2      94.6     92.2       92.5
    lognormal, σ 0.5     5    94.4      91.6     81.1       80.4
                        10    94.5      92.1     88.0       87.7
                        20    94.7      92.7     91.2       90.9
    exponential          5    93.6      88.2     80.2       78.7
                        10    94.8      90.1     87.9       86.4
                        20    95.3      92.0     91.4       90.5
    uniform              5    96.2      93.4     86.4       84.8
                        10    97.3      94.5     93.1       91.1
    lognormal, σ 1       5    89.7      82.6     74.4       72.4
                        10    91.0      83.7     82.4       80.1
                        20    92.7      86.8     87.4       86.0

Effects as skewed as the last (skewness 6) are beyond it, and beyond any of these. The test of this module repeats some
of the rows. Below `MIN_SUBJECTS` there is no interval.

What else was tried for them, of 3,200 studies each (standard error 0.4); coverage, and in brackets the mean width in
those of Student's t:

                                                    S    normal      uniform     lognormal, σ 1
    this                                            5    96 (1.5)    97 (1.6)    90 (2.0)
                                                   10    95 (1.1)    97 (1.1)    91 (1.8)
                                                   20    96 (1.0)    97 (1.0)    93 (1.6)
    Hall's cubic transformation (1992), bootstrap   5    89 (2.7)    94 (3.2)    86 (4.8)
                                                   10    93 (1.3)    95 (1.1)    89 (2.4)
                                                   20    95 (1.0)    95 (0.9)    91 (2.2)
    the same, each end as far as Student's 93 %     5    96 (1.8)    97 (1.9)    91 (2.2)
                                                   10    95 (1.2)    96 (1.1)    92 (2.1)
                                                   20    96 (1.0)    96 (1.0)    93 (2.0)
    this, 0.5 % on the side of the sample's skew    5    96 (1.6)    97 (1.7)    91 (2.1)
    where it is above 1.2, from 2.5 % below 0.5    10    95 (1.2)    98 (1.2)    93 (2.1)
                                                   20    96 (1.1)    98 (1.0)    96 (2.0)
    this, 0.5 % there whatever the skew, and        5    97 (2.2)    98 (2.3)    94 (2.4)
    Student's 90 % on the other side               10    96 (1.5)    99 (1.5)    95 (2.1)
                                                   20    97 (1.3)    99 (1.3)    97 (2.0)

Only the last holds 93 % there, for an interval half as wide again of five normal subjects, and 99 % for 95 of uniform
ones: a sample of five rarely shows the tail that it lacks, so whoever is to cover it has to widen all. It is not taken.

Several seeds of one subject are replicates, not subjects: `over_replicates` takes their mean first, and the spread of
those means between subjects already holds what the seeds add to it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.metrics.frechet_interval import LEVEL, MIN_SUBJECTS
from src.common.errors import UserError

RESAMPLES, SEED = 9_999, 0
STUDENT_LEVEL = 0.93
# Where most subjects have the same value a resample has no spread, and an end of the interval would be infinite.
WIDEST = 4.0


@dataclass(frozen=True)
class Estimate:
    """A weighted mean over subjects, or over their paired differences.

    Attributes:
        interval: 95 %; None below `MIN_SUBJECTS`.
        p_value: of paired differences, two-sided sign-flip permutation test of no difference; None where there is no
            interval, and for means. With S subjects it is at least 2^(1 - S): 0.0625 of five.
        num_subjects: with a finite value.
    """

    value: float
    interval: tuple[float, float] | None
    p_value: float | None
    num_subjects: int


def mean_estimate(values: Sequence[float], weights: Sequence[float]) -> Estimate | None:
    """Weighted mean of subjects with its interval.

    Infinite values (PSNR of identical clips) are left out, as in the metric; None where nothing is left.

    Args:
        values: one a subject.
        weights: at least 0, such as its frames.

    >>> mean_estimate([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    Estimate(value=2.5, interval=None, p_value=None, num_subjects=4)
    """
    value_S, weight_S = _finite(values, weights)
    if not len(value_S):
        return None
    value = float(np.average(value_S, weights=weight_S))
    return Estimate(value, _interval(value_S, weight_S), None, len(value_S))


def paired_difference(
    values: Mapping[str, float], baseline: Mapping[str, float], weights: Mapping[str, float]
) -> Estimate | None:
    """Weighted mean of the differences `values - baseline` over the subjects that both have, with interval and test.

    The permutation test (scipy's, exact up to 13 subjects) flips signs of whole subjects: under no difference each is
    as likely as its mirror image.

    Args:
        values, baseline: by subject; a subject whose value is infinite in either is left out.
        weights: by subject.

    Returns:
        None where no subject is shared.
    """
    shared = sorted(values.keys() & baseline.keys())
    with np.errstate(invalid="ignore"):  # inf - inf is left out below
        differences = [float(np.subtract(values[name], baseline[name])) for name in shared]
    value_S, weight_S = _finite(differences, [weights[name] for name in shared])
    if not len(value_S):
        return None
    value = float(np.average(value_S, weights=weight_S))
    interval = _interval(value_S, weight_S)
    if interval is None:
        return Estimate(value, None, None, len(value_S))
    test = stats.permutation_test(
        (value_S * weight_S,),
        lambda products, axis: products.sum(axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(SEED),
    )
    return Estimate(value, interval, float(test.pvalue), len(value_S))


def over_replicates(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each subject's mean over runs that differ in their seed alone.

    Raises:
        UserError: there is no run, or the runs have different subjects.

    >>> over_replicates([{"anna": 1.0, "ben": 2.0}, {"anna": 3.0, "ben": 2.0}])
    {'anna': 2.0, 'ben': 2.0}
    """
    if not runs:
        raise UserError("no runs to take the mean over: give at least one seed")
    for run in runs[1:]:
        if run.keys() != runs[0].keys():
            odd = ", ".join(sorted(run.keys() ^ runs[0].keys()))
            raise UserError(f"seeds must be scored on the same subjects; not in all of them: {odd}")
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in their order: those at most α are significant together (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    factors = np.arange(len(p_values), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors).clip(max=1)
    return [float(value) for value in adjusted]


def _finite(values: Sequence[float], weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    kept = [(v, w) for v, w in zip(values, weights, strict=True) if math.isfinite(v) and w > 0]
    value_S, weight_S = np.array(kept, np.float64).reshape(-1, 2).T
    return value_S, weight_S


def studentised(
    value_XS: np.ndarray, weight_XS: np.ndarray, *, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends (X,) of the 95 % intervals of weighted means over the last axis, of X studies at once.

    Args:
        value_XS, weight_XS: (…, S) float64 of one shape, S at least `MIN_SUBJECTS`, weights above 0.
        resamples: R, the same subjects drawn for every study.
        seed: of the draws.
    """
    count = value_XS.shape[-1]
    mean_X, error_X = _mean_and_error(value_XS, weight_XS)
    picks_RS = np.random.default_rng(seed).integers(0, count, (resamples, count))
    mean_XR, error_XR = _mean_and_error(value_XS[..., picks_RS], weight_XS[..., picks_RS])
    distance_XR = mean_XR - mean_X[..., None]
    widest = WIDEST * stats.t.ppf((1 + LEVEL) / 2, count - 1)
    tiny_X1 = 1e-12 * np.abs(value_XS).max(-1, keepdims=True)
    # A resample of one value alone has no spread: its t is infinite, or 0 where it is the mean itself.
    spread_XR = np.where(error_XR > tiny_X1, error_XR, np.where(np.abs(distance_XR) > tiny_X1, tiny_X1, 1.0))
    t_XR = np.where(np.abs(distance_XR) > tiny_X1, distance_XR / np.where(spread_XR > 0, spread_XR, 1.0), 0.0)
    # The long tail of the means is the short end of t: low and high change places.
    far_t_X, near_t_X = np.quantile(t_XR, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1, method="weibull")
    student = stats.t.ppf((1 + STUDENT_LEVEL) / 2, count - 1)
    low_X = mean_X - error_X * np.clip(near_t_X, student, widest)
    high_X = mean_X + error_X * np.clip(-far_t_X, student, widest)
    return low_X, high_X


def _interval(value_S: np.ndarray, weight_S: np.ndarray) -> tuple[float, float] | None:
    if len(value_S) < MIN_SUBJECTS:
        return None
    low, high = studentised(value_S, weight_S, resamples=RESAMPLES, seed=SEED)
    return float(low), float(high)


def _mean_and_error(value_XS: np.ndarray, weight_XS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over the last axis and its linearised standard error, of a ratio of two means."""
    count = value_XS.shape[-1]
    mean_X = (value_XS * weight_XS).sum(-1) / weight_XS.sum(-1)
    residual_XS = weight_XS * (value_XS - mean_X[..., None]) / weight_XS.mean(-1)[..., None]
    return mean_X, np.sqrt(np.square(residual_XS).sum(-1) / (count * (count - 1)))
