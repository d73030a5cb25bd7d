"""SSIM and PSNR against scikit-image, and against DisCo's own formulas."""

import math

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from eval.metrics.base import NotComputable
from eval.metrics.psnr import PSNR, psnr
from eval.metrics.ssim import SSIM, ssim
from src.common.errors import UserError
from tests.eval.conftest import smooth_frames, to_tensor

GAUSSIAN = {"window": "gaussian", "color": "rgb"}
EXACT = {"arithmetic": "float64", "identical": "exclude"}


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).round().astype(np.uint8)


def test_ssim_is_scikit_images_on_real_frames(real_frames: np.ndarray) -> None:
    other = np.roll(real_frames, 1, axis=0)
    ours = ssim(to_tensor(real_frames), to_tensor(other), **GAUSSIAN)
    reference = [
        structural_similarity(
            x, y, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(real_frames, other, strict=True)
    ]
    np.testing.assert_allclose(ours.numpy(), reference, atol=1e-5)


@pytest.mark.parametrize("flat", [False, True])
def test_ssim_on_a_gpu_is_the_same_number(flat: bool) -> None:
    """The two libraries agree, also on a bright flat wall, where float32 is off by 1e-4."""
    frames = np.full((2, 40, 40, 3), 250, np.uint8) if flat else smooth_frames(2, 40, seed=0)
    other = frames + np.random.default_rng(0).integers(0, 2, frames.shape).astype(np.uint8)
    x, y = to_tensor(frames), to_tensor(other)
    _, full = structural_similarity_index_measure(
        x.double(), y.double(), data_range=255.0, reduction="none", return_full_image=True
    )
    np.testing.assert_allclose(ssim(x, y, **GAUSSIAN), full[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-9)


def test_disco_ssim_is_what_its_code_calls(real_frames: np.ndarray) -> None:
    other = noisy(real_frames, 12)
    gray = [[cv2.cvtColor(x[..., ::-1].copy(), cv2.COLOR_BGR2GRAY) for x in side] for side in (real_frames, other)]
    literal = [structural_similarity(x, y, full=True)[0] for x, y in zip(*gray, strict=True)]
    np.testing.assert_allclose(ssim(to_tensor(real_frames), to_tensor(other), window="uniform", color="gray"), literal)


def test_psnr_is_scikit_images_on_real_frames(real_frames: np.ndarray) -> None:
    other = np.roll(real_frames, 1, axis=0)
    reference = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(real_frames, other, strict=True)]
    np.testing.assert_allclose(
        psnr(to_tensor(real_frames), to_tensor(other), arithmetic="float64"), reference, atol=1e-5
    )


def test_8_bit_arithmetic_is_the_public_codes_mistake_and_ours_does_not_make_it() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    literal = [20 * math.log10(255.0 / math.sqrt(np.mean((a - b) ** 2))) for a, b in zip(x, y, strict=True)]
    wrapped = psnr(to_tensor(x), to_tensor(y), arithmetic="uint8")
    np.testing.assert_allclose(wrapped, literal, rtol=1e-9)
    assert (wrapped > 27).all(), "the wrap-around lifts unrelated frames to about 28 dB"
    assert (psnr(to_tensor(x), to_tensor(y), arithmetic="float64") < 9).all()
    black, white = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert psnr(black, white, arithmetic="float64").item() == pytest.approx(0, abs=1e-5)


def test_identical_frames() -> None:
    x = to_tensor(smooth_frames(3, 32, seed=1))
    metric = SSIM(**GAUSSIAN)
    metric.update(x, x)
    assert metric.compute().item() == pytest.approx(1, abs=1e-12)
    metric = PSNR(**EXACT)
    metric.update(x, x)
    assert metric.compute().item() == math.inf
    assert metric.details() == {"frames": 3, "identical": 3}


def test_identical_frames_in_a_mean() -> None:
    frames = smooth_frames(3, 32, seed=1)
    x, y = to_tensor(frames), to_tensor(np.concatenate([frames[:1], noisy(frames[1:], 9)]))
    others = psnr(x[1:], y[1:], arithmetic="float64")
    metric = PSNR(**EXACT)
    metric.update(x, y)
    assert metric.compute().item() == pytest.approx(others.mean().item())
    assert metric.details() == {"frames": 3, "identical": 1}
    metric = PSNR(arithmetic="float64", identical=100.0)
    metric.update(x, y)
    assert metric.compute().item() == pytest.approx((100 + others.sum().item()) / 3)


@pytest.mark.parametrize("build", [lambda: SSIM(**GAUSSIAN), lambda: PSNR(**EXACT)])
def test_worse_frames_score_lower_and_batches_do_not_matter(build) -> None:
    frames = smooth_frames(4, 48, seed=2)
    real = to_tensor(frames)
    blurred = np.stack([cv2.GaussianBlur(f, (0, 0), 2) for f in frames])
    shifted = np.roll(frames, 3, axis=2)
    scores = {}
    for name, side in {
        "0": noisy(frames, 2),
        "1": noisy(frames, 8),
        "2": noisy(frames, 32),
        "blur": blurred,
        "shift": shifted,
    }.items():
        whole, parts = build(), [build(), build()]
        whole.update(to_tensor(side), real)
        for part, indices in zip(parts, (slice(0, 1), slice(1, 4)), strict=True):
            part.update(to_tensor(side)[indices], real[indices])
        parts[0].merge_state(parts[1])
        assert parts[0].compute().item() == pytest.approx(whole.compute().item(), rel=1e-12)
        scores[name] = whole.compute().item()
    assert scores["0"] > scores["1"] > scores["2"]
    assert scores["0"] > max(scores["blur"], scores["shift"])


def test_frames_that_do_not_match_are_refused() -> None:
    x = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(UserError, match="number or size"):
        psnr(x, x[:1], arithmetic="float64")
    with pytest.raises(UserError, match="number or size"):
        ssim(x, x[..., :12], **GAUSSIAN)
    with pytest.raises(UserError, match="uint8"):
        psnr(x.float(), x.float(), arithmetic="float64")
    with pytest.raises(UserError, match="11 pixels"):
        ssim(x[..., :8], x[..., :8], **GAUSSIAN)
    with pytest.raises(NotComputable), pytest.warns(UserWarning, match="before the ``update``"):
        PSNR(**EXACT).compute()
