"""What W&B is given besides metrics, offline."""

from pathlib import Path

import numpy as np
import pytest
import wandb

from src.app.loggers import build_loggers, log_video
from src.media.video import write_video
from src.train import main as train_main
from tests.conftest import run_settings


@pytest.fixture
def offline(compose_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    overrides = ("subject=people_001", "model=tiny", "seed=3", "logger=wandb", f"run_dir={tmp_path / 'run'}")
    cfg = compose_config("train", *overrides, "logger.group=people")
    [logger] = build_loggers(cfg.logger, run_settings(*overrides))
    yield logger
    wandb.finish()


def test_group_tags_settings_and_video_reach_the_run(offline, tmp_path: Path) -> None:
    run = offline.experiment
    assert run.group == "people" and run.tags == ("train", "tiny", "posecrafter")
    assert run.config["seed"] == 3 and run.config["method"]["latent_editing"]["timestep"] == 1000
    assert "logger" not in run.config.as_dict()
    write_video(tmp_path / "clip.mp4", np.zeros((2, 16, 16, 3), np.uint8), 10)
    log_video("comparison", tmp_path / "clip.mp4")
    assert len(list((tmp_path / "run").rglob("media/videos/*.mp4"))) == 1


def test_without_a_run_nothing_happens(tmp_path: Path) -> None:
    log_video("comparison", tmp_path / "absent.mp4")
    assert wandb.run is None


TOY = ("subject=people_001", "model=tiny", "trainer=cpu", "trainer.max_steps=1", "data.num_frames=2")


@pytest.mark.parametrize("choice", ["logger=none", "~logger"])
def test_no_logger(call_main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    built = []

    def make_run(settings, run, *, loggers, overrides) -> dict:
        built.append(loggers())
        return {}

    monkeypatch.setattr("src.runs.make_run.make_run", make_run)
    assert call_main(train_main, *TOY, "run_dir=x", choice) == (0, "")
    assert built == [[]]
    status, stderr = call_main(train_main, *TOY, "run_dir=x", "logger=null")
    assert status == 2 and "a group is no value: choose one of its names, such as logger=none" in stderr


def test_a_run_without_a_video_in_a_folder_of_any_name(call_main, tmp_path: Path, monkeypatch) -> None:
    """W&B is told of no video that was not made; the logger writes into the folder as it is called."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    name = "x ${b} \\${c}"
    assert call_main(train_main, *TOY, "logger=wandb", "sample_after_train=false", f"run_dir={name}")[0] == 0
    assert list((tmp_path / name).glob("wandb/offline-run-*")) and not (tmp_path / name / "comparison.mp4").exists()
    # The summary is there, and no other folder.
    assert [path.name for path in tmp_path.iterdir() if (path / "summary.json").exists()] == [name]
