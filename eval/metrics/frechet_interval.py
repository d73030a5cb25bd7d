"""Jackknife interval of a Fréchet distance over subjects, which no mean over subjects can give."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from eval.metrics.frechet import frechet_distance

LEVEL = 0.95
# Below five no interval of this project covers what it says.
MIN_SUBJECTS = 5
# More subjects are left out by so many groups of them: a distance of many frames takes seconds.
MAX_GROUPS = 20
Samples = tuple[Tensor, Tensor]


def frechet_interval(subjects: Sequence[Samples], value: float) -> tuple[float, float] | None:
    """95 % interval of the Fréchet distance of all subjects together, by leaving out one subject at a time.

    Student's t on the logarithm of the distance with the jackknife's standard error. It is an interval of the distance
    that this many subjects and frames have on average, and not of the one of infinitely many: a Fréchet distance of few
    samples is too large, which no resampling of them mends. Simulated
    (Gaussian subjects; 6 features of 12 frames, 80 of 4; distances near and far from 0) it covers 92 to 98 % at 5, 10
    and 20 subjects and 99.7 % once; the percentile bootstrap 78 to 94 % at 5.

    Args:
        subjects: of each, features of generated and of real samples, (B, D) and (B', D).
        value: the distance of all of them.

    Returns:
        Low and high; None for fewer than `MIN_SUBJECTS`, or where a distance is 0.
    """
    if len(subjects) < MIN_SUBJECTS or value <= 0:
        return None
    order = np.random.default_rng(0).permutation(len(subjects))
    groups = np.array_split(order, min(len(subjects), MAX_GROUPS))
    count = len(groups)
    without_S = []
    for left_out in groups:
        kept = [subject for index, subject in enumerate(subjects) if index not in left_out]
        generated, real = (torch.cat([subject[side].double() for subject in kept]) for side in (0, 1))
        without_S.append(float(frechet_distance(generated, real)))
    if min(without_S) <= 0:
        return None
    logarithm_S = np.log(without_S)
    error = math.sqrt((count - 1) * np.var(logarithm_S))
    factor = math.exp(stats.t.ppf((1 + LEVEL) / 2, count - 1) * error)
    return value / factor, value * factor
