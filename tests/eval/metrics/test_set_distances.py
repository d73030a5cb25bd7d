"""KID against clean-fid's code and torchmetrics; L1 against DisCo's formula."""

import numpy as np
import pytest
import torch
from cleanfid.fid import kernel_distance as clean_fid_kernel_distance
from torchmetrics.image.kid import poly_mmd

import eval.metrics.kid
from eval.metrics.base import NotComputable
from eval.metrics.kid import KID, kernel_distance
from eval.metrics.l1 import L1
from src.common.errors import UserError
from tests.eval.conftest import to_tensor


def features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 24, generator=generator) + shift


def test_kid_is_that_of_clean_fid_and_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval.metrics.kid, "BLOCK", 7)  # more than one block, the last not full
    x, y = features(40, 0), features(40, 1, 0.5)
    metric = KID()
    for part in x.split(15):
        metric.update(part, real=False, frames=len(part))
    metric.update(y, real=True, frames=len(y))
    theirs = clean_fid_kernel_distance(x.double().numpy(), y.double().numpy(), num_subsets=3, max_subset_size=40)
    assert metric.compute().item() == pytest.approx(theirs, rel=1e-10)
    assert metric.compute().item() == pytest.approx(poly_mmd(y.double(), x.double()).item(), rel=1e-10)
    assert metric.details() == {"frames": 40, "real_frames": 40}


def test_kid_is_unbiased_and_merges() -> None:
    values = [kernel_distance(features(8, s).double(), features(12, s + 500).double()).item() for s in range(300)]
    error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values)) < 3 * error, "the same distribution has a mean of 0 however few samples"
    whole, parts = KID(), [KID(), KID()]
    for start, part in zip((0, 6), parts, strict=True):
        for metric in (whole, part):
            metric.update(features(20, 0)[start : start + 6], real=False, frames=6)
            metric.update(features(20, 1)[start : start + 6], real=True, frames=6)
    parts[0].merge_state(parts[1])
    assert parts[0].compute().item() == pytest.approx(whole.compute().item(), rel=1e-12)


def test_kid_needs_two_samples_and_finite_ones() -> None:
    metric = KID()
    metric.update(features(1, 0), real=False, frames=1)
    with pytest.raises(NotComputable, match="1 generated and 0 real"):
        metric.compute()
    with pytest.raises(UserError, match="not finite"):
        metric.update(torch.tensor([[float("nan")]]), real=True, frames=1)


def test_l1_is_discos(real_frames: np.ndarray) -> None:
    real, generated = real_frames, real_frames[::-1]
    # tool/metrics/ssim_l1_lpips_psnr.py: |a - b| / (H W), then the mean over everything.
    theirs = np.mean([np.abs(a.astype(float) - b) / (128 * 128) for a, b in zip(real, generated, strict=True)])
    metric = L1()
    for start in (0, 3):
        metric.update(to_tensor(generated)[start : start + 3], to_tensor(real)[start : start + 3])
    assert metric.compute().item() == pytest.approx(theirs, rel=1e-12)
    assert theirs > 1e-5
