"""Short clips share the networks' batches, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval import score
from eval.networks.base import Network
from eval.networks.networks import Networks
from eval.networks.weights import WeightStore
from eval.scoring.clips import ScoredClip
from tests.eval.conftest import smooth_frames
from tests.eval.test_score import networks, run

FRAMES = ["lpips", "clip-i", "clip-t", "psnr"]


def clip(number: int, frames: int, size: int = 32) -> ScoredClip:
    real, other = smooth_frames(frames, size, seed=number), smooth_frames(frames, size, seed=100 + number)
    return ScoredClip(f"clip {number}", (real // 2 + other // 2).astype(np.uint8), real, real[0])


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name and rows of each network's forward passes."""
    passes: list[tuple[str, int]] = []
    call = Network.__call__

    def counted(self: Network, *inputs: torch.Tensor) -> torch.Tensor:
        passes.append((self.name, len(inputs[0])))
        return call(self, *inputs)

    monkeypatch.setattr(Network, "__call__", counted)
    return passes


def test_short_clips_fill_batches_and_keep_their_own_values(random_weights: WeightStore, looked) -> None:
    clips = [clip(number, 3) for number in range(8)] + [clip(8, 2, size=40), clip(9, 11)]
    together = run(networks(random_weights), FRAMES, clips)
    lpips = [rows for name, rows in looked if name.startswith("lpips")]
    assert lpips == [8, 8, 8, 8, 3, 2], "35 pairs of one size in batches of eight, and two of another"
    # CLIP looks at the reference images too, of which nine have one size.
    assert sorted(rows for name, rows in looked if name.startswith("openai")) == sorted([*lpips, 8, 1, 1])
    for one in clips:
        alone = run(networks(random_weights), FRAMES, [one])
        for name, value in alone["clips"][one.name].items():
            assert together["clips"][one.name][name] == pytest.approx(value, rel=1e-5), (one.name, name)


def test_windows_end_with_their_clip(random_weights: WeightStore, looked) -> None:
    judges = Networks(
        random_weights, extractor=networks(random_weights).extractor, device=torch.device("cpu"), batch_size=64
    )
    clips = [clip(0, 10), clip(1, 12), clip(2, 11)]
    rules = ["protocol.fvd.clip_length=10", "protocol.fvd.stride=1"]
    together = run(judges, ["fvd"], clips, *rules)
    assert together["metrics"]["fvd"]["clips"] == 1 + 3 + 2
    assert [rows for _, rows in looked] == [4, 2] * 2, "six windows of each side, four a batch"
    again = run(networks(random_weights), ["fvd"], clips[::-1], *rules)
    assert together["metrics"]["fvd"]["value"] == pytest.approx(again["metrics"]["fvd"]["value"], rel=1e-5)
    short = run(judges, ["fvd", "psnr"], [clips[0], clip(3, 9), clips[1]], *rules)
    assert short["missing"] == {"fvd": "clip clip 3: FVD needs videos of at least 10 frames, got one of 9"}
    assert len(short["clips"]) == 3 and "psnr" in short["metrics"]


def test_few_clips_are_held_and_those_read_before_an_error_are_kept(tmp_path: Path) -> None:
    own: dict[str, Any] = {"metrics": ["psnr"], "device": "cpu", "batch_size": 2, "resume": tmp_path / "kept"}

    def kept() -> int:
        return len(list((tmp_path / "kept").glob("*")))

    def clips(error: type[BaseException] | None) -> Iterator[ScoredClip]:
        for number in range(11):
            assert kept() >= number - 2, "three clips of three frames fill four batches of two"
            yield clip(number, 3)
        if error is not None:
            raise error

    with pytest.raises(OSError):
        score(clips(OSError), **own)
    assert kept() == 11
    whole = score(clips(None), **own)
    assert len(whole["clips"]) == 11 and kept() == 11
