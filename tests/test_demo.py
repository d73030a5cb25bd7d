"""`make demo` with fewer steps: the shipped weights, the shipped judges, the commands of the Makefile."""

import json
import re
import shlex

import numpy as np

from eval.score import main as score_main
from src.media.video import read_video
from src.train import main as train_main
from tests.conftest import ROOT

FEW = ("trainer.max_steps=3", "sampling.num_steps=4", "data.num_test_frames=6", "trainer=cpu")


def recipe() -> list[list[str]]:
    """Arguments of each `python -m` line of the target `demo`."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    lines = re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1].splitlines()
    return [shlex.split(line.split("-m ", 1)[1].replace("$(ARGS)", "")) for line in lines]


def test_the_demo_films_a_known_person_and_scores_the_video(call_main, tmp_path):
    train, score = recipe()
    assert (train[0], score[0]) == ("src.train", "eval.score")
    status, stderr = call_main(train_main, *train[1:], *FEW)
    assert status == 0, stderr
    run = tmp_path / "outputs/demo"
    assert (run / "comparison.mp4").is_file() and (run / "contact_sheet.png").is_file()
    generated, real = (read_video(run / name).frames for name in ("frames", "held_out/frames"))
    assert generated.shape == real.shape == (6, 128, 128, 3)
    error = np.square(generated.astype(float) - real).mean()
    stranger = np.square(generated.astype(float) - real[:, :, ::-1]).mean()
    assert error < 0.7 * stranger, "even so the room and the person stand where they are"

    status, stderr = call_main(score_main, *score[1:])
    assert status == 0, stderr
    scores = json.loads((run / "scores.json").read_text())
    measured = {"ssim", "psnr", "psnr-face", "psnr-hands", "mse-p-mini", "clip-i-mini", "clip-t-mini"}
    assert set(scores["metrics"]) >= measured
    assert set(scores["metrics"]) | set(scores["missing"]) == measured | {"lpips", "fid", "fvd"}
    assert "MSE-P-mini" in stderr and scores["metrics"]["mse-p-mini"]["seen"] > 0.3
