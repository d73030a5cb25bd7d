"""What W&B is given besides metrics, offline."""

from pathlib import Path

import numpy as np
import pytest
import wandb
from omegaconf import OmegaConf

from src.app.loggers import log_config, log_video, wandb_logger
from src.media.video import write_video


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = wandb_logger(project="p", save_dir=str(tmp_path / "run"), group="people", tags=["train", "tiny"])
    yield logger
    wandb.finish()


def test_group_tags_config_and_video_reach_the_run(offline, tmp_path: Path) -> None:
    log_config([offline], OmegaConf.create({"seed": 3, "twice": "${seed}"}))
    run = offline.experiment
    assert run.group == "people" and run.tags == ("train", "tiny")
    assert run.config["seed"] == run.config["twice"] == 3
    write_video(tmp_path / "clip.mp4", np.zeros((2, 16, 16, 3), np.uint8), 10)
    log_video("comparison", tmp_path / "clip.mp4")
    assert len(list((tmp_path / "run").rglob("media/videos/*.mp4"))) == 1


def test_without_a_run_nothing_happens(tmp_path: Path) -> None:
    log_video("comparison", tmp_path / "absent.mp4")
    assert wandb.run is None
