"""Bootstrap interval of a Fréchet distance over subjects, which no mean over subjects can give."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eval.metrics.frechet import frechet_distance

LEVEL = 0.95
Samples = tuple[Tensor, Tensor]


def frechet_interval(
    subjects: Sequence[Samples], value: float, *, resamples: int, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the Fréchet distance of all subjects together, whole subjects being drawn with replacement.

    A resample repeats subjects, which lowers the rank of the covariances and so lifts every distance. The spread of
    the resamples is therefore laid around the value itself: value + quantile − mean of the resamples.

    Args:
        subjects: of each, features of generated and of real samples, (B, D) and (B', D).
        value: the distance of all of them.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        Low and high, at least 0; None for fewer than three subjects, whose resamples are mostly repetitions.
    """
    if len(subjects) < 3 or resamples < 2:
        return None
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(resamples):
        picks = rng.integers(0, len(subjects), len(subjects))
        sides = (torch.cat([subjects[pick][side].double() for pick in picks]) for side in (0, 1))
        distances.append(float(frechet_distance(*sides)))
    low, high = np.percentile(distances, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]) - np.mean(distances) + value
    return max(0.0, float(low)), max(0.0, float(high))
