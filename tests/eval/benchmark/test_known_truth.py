"""Damage of known size to rendered people, and what metrics say of it."""

import numpy as np
import torch

from eval.benchmark.known_truth import DAMAGES, LEVELS, agreement, as_markdown, rendered
from eval.networks.networks import Networks
from eval.networks.weights import WeightStore
from src.pose.extractors.mini import MiniExtractor
from tests.eval.test_score import protocol


def test_every_damage_grows_with_its_level_and_starts_at_nothing() -> None:
    truth = rendered(1, count=6, size=64)
    for name, apply in DAMAGES.items():
        frames, amounts = zip(*(apply(truth, level) for level in range(LEVELS)), strict=True)
        np.testing.assert_array_equal(frames[0], truth.real(), err_msg=name)
        assert amounts[0] == 0 and list(amounts) == sorted(set(amounts)), name
        assert all((later != truth.real()).any() for later in frames[1:]), name


def test_metrics_that_must_see_a_damage_do_and_flicker_rewards_blur() -> None:
    networks = Networks(
        WeightStore(None, download=False), extractor=MiniExtractor(), device=torch.device("cpu"), batch_size=8
    )
    rules = protocol("pose=mini", "protocol.mse_p.extractor=mini")
    table = agreement(["ssim", "oks-body", "flicker", "warping-error"], rules, networks, subjects=[1], count=6, size=64)
    assert set(table) == {"ssim", "oks-body", "flicker"}, "RAFT is not at hand"
    assert min(table["ssim"]["blur"], table["ssim"]["noise"]) > 0.99 and table["oks-body"]["wrong pose"] > 0.8
    assert table["flicker"]["blur"] < -0.99 and table["flicker"]["brightness flicker"] > 0.8
    lines = as_markdown(table).splitlines()
    assert len(lines) == 5 and lines[2].startswith("| SSIM | +1.00 |")
