"""PSNR of face and hands against a loop over pixels, and the run folder that it is scored from."""

import json
import math

import numpy as np
import pytest
import torch

from eval.metrics.base import NotComputable
from eval.metrics.region_psnr import REGIONS, RegionPSNR, region_mask
from eval.reporting.results import load_results
from eval.score import main
from src.common.errors import UserError
from src.pose.keypoints import NUM_KEYPOINTS, PARTS, PoseSequence
from tests.eval.conftest import to_tensor

SIZE = 40


@pytest.fixture
def poses() -> PoseSequence:
    """Three random poses; the second lacks a hand, the third shows neither face nor hands."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.1, 0.9, (3, 1, 2)) + rng.uniform(-0.2, 0.25, (3, NUM_KEYPOINTS, 2))
    seen = np.ones((3, NUM_KEYPOINTS), bool)
    seen[1, PARTS["left_hand"]] = False
    seen[2, 18:] = False
    return PoseSequence(xy, seen, seen)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return tuple(rng.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8) for _ in range(2))


@pytest.mark.parametrize("region", REGIONS)
def test_the_region_is_that_of_a_loop_over_pixels(region, poses, pair):
    generated, real = pair
    values = []
    for frame in range(3):
        squared = []
        for y in range(SIZE):
            for x in range(SIZE):
                inside = False
                for part in REGIONS[region]:
                    points = poses.xy[frame, PARTS[part]][poses.mask[frame, PARTS[part]]] * SIZE
                    if len(points):
                        (left, top), (right, bottom) = points.min(0), points.max(0)
                        inside |= x + 1 > left and x < right and y + 1 > top and y < bottom
                if inside:
                    squared += list((generated[frame, y, x].astype(float) - real[frame, y, x]) ** 2)
        if squared:
            values.append(10 * math.log10(255**2 / np.mean(squared)))
    assert len(values) == 2, "the last frame shows no such part"
    metric = RegionPSNR(region)
    metric.update(to_tensor(generated), to_tensor(real), poses)
    assert float(metric.compute()) == pytest.approx(np.mean(values), abs=1e-9)
    assert metric.details() == {"frames": 2}


def test_only_the_region_counts(poses, pair):
    _, real = pair
    changed = real.copy()
    changed[~region_mask(poses, "face", SIZE, SIZE)] ^= 255
    metric = RegionPSNR("face")
    metric.update(to_tensor(changed), to_tensor(real), poses)
    assert torch.isinf(metric.compute())
    nothing = RegionPSNR("hands")
    nothing.update(to_tensor(changed[2:]), to_tensor(real[2:]), poses[2:])
    with pytest.raises(NotComputable, match="no frame shows the hands"):
        nothing.compute()
    with pytest.raises(UserError, match="3 frames with 2 poses"):
        metric.update(to_tensor(real), to_tensor(real), poses[:2])


def test_a_run_is_scored_by_its_folder(train, call_main, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fast = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_test_frames=3")
    train("subject=people_001", *fast, "data.num_frames=2", "run_dir=run")
    metrics = "metrics=[psnr,psnr-face,psnr-hands,fid]"
    status, stderr = call_main(main, "run=run", metrics, "output=scores.json", "download=false")
    assert status == 0 and "PSNR-face" in stderr and "missing" in stderr, stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["metrics"]["psnr"]["frames"] == 3 and scores["metrics"]["psnr-face"]["frames"] == 3
    assert list(scores["missing"]) == ["fid"]
    said = [scores[key] for key in ("benchmark", "method", "num_frames", "model")]
    assert said == ["people", "posecrafter", 2, "tiny"]
    status, stderr = call_main(main, "run=run", "metrics=[psnr]", "table.method=mine", "output=mine.json")
    mine = json.loads((tmp_path / "mine.json").read_text())
    assert (mine["method"], mine["num_frames"]) == ("mine", 2), stderr
    (tmp_path / "run").rename(tmp_path / "again")
    assert call_main(main, "run=again", "metrics=[psnr]", "output=again.json")[0] == 0
    first, second = load_results([tmp_path / "scores.json", tmp_path / "again.json"])
    assert second.difference(first, "psnr").num_subjects == 1 and list(second.clips) == ["people_001"]
    (tmp_path / "again").rename(tmp_path / "run")
    status, stderr = call_main(main, f"run={tmp_path}", metrics)
    assert status == 2 and "holds no generated held-out poses" in stderr
    frames = [str(tmp_path / "run"), str(tmp_path / "run/held_out")]
    status, _ = call_main(main, f"generated={frames[0]}", f"real={frames[1]}", "metrics=[psnr-face]", "output=s.json")
    assert status == 0 and "poses=" in json.loads((tmp_path / "s.json").read_text())["missing"]["psnr-face"]
