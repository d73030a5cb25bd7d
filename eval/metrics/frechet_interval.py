"""Bootstrap interval of a Fréchet distance over subjects, which no mean over subjects can give."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

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
        distances.append(float(distance_of_samples(*sides)))
    low, high = np.percentile(distances, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]) - np.mean(distances) + value
    return max(0.0, float(low)), max(0.0, float(high))


def distance_of_samples(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Squared Fréchet distance of the Gaussians of two sets of samples, () in their type.

    With covariances A Aᵀ and B Bᵀ of the centred samples, tr (C1 C2)^½ is the sum of the singular values of AᵀB, an
    N × M matrix: much smaller than D × D where samples are few. Beyond that QR brings both down to D.
    """
    mean_x, mean_y = x_ND.mean(0), y_MD.mean(0)
    a_ND, b_MD = (x_ND - mean_x) / (len(x_ND) - 1) ** 0.5, (y_MD - mean_y) / (len(y_MD) - 1) ** 0.5
    trace = a_ND.square().sum() + b_MD.square().sum()
    # (Q R)ᵀ has the singular values of Rᵀ.
    a, b = (torch.linalg.qr(side, mode="r").R if len(side) > side.shape[1] else side for side in (a_ND, b_MD))
    distance = (mean_x - mean_y).square().sum() + trace - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return distance.clamp(min=0)
