"""A fine-tune that is killed goes on from its last checkpoint, as if nothing had happened."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import src.training.fine_tune
from src.common.errors import UserError
from src.train import train

SETTINGS = ("subject=people_001", "model=tiny", "trainer=cpu", "data.num_frames=3", "data.num_test_frames=3")
SETTINGS += ("trainer.max_steps=6", "checkpoint_every_n_steps=2", "sample_after_train=false", "logger=csv")


def losses(run: Path) -> dict[int, float]:
    with open(run / "csv/metrics.csv") as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}


def test_a_killed_run_goes_on_with_the_same_losses(compose_config, tmp_path, monkeypatch):
    def config(folder: str, *changes: str):
        return compose_config("train", *SETTINGS, f"run_dir={tmp_path / folder}", *changes)

    train(config("whole"))
    expected = losses(tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(*args) -> None:
        if args[1].global_step == 5:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(src.training.fine_tune.Cost, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            train(config("killed"))
    assert not (tmp_path / "killed/adapter.safetensors").exists()
    assert [path.name for path in (tmp_path / "killed/checkpoints").iterdir()] == ["step=4.ckpt"]

    with pytest.raises(UserError, match="run with another seed"):
        train(config("killed", "seed=3"))
    summary = train(config("killed"))
    assert summary["training"]["steps"] == 6
    resumed = losses(tmp_path / "killed")
    assert {step: resumed[step] for step in (4, 5)} == {step: expected[step] for step in (4, 5)}
    whole, again = (load_file(tmp_path / name / "adapter.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
