"""What W&B is given besides metrics, offline."""

from pathlib import Path

import numpy as np
import pytest
import wandb

from src.app.loggers import build_loggers, log_video
from src.common.errors import UserError
from src.media.video import write_video
from src.runs.run_folder import RunFolder
from src.train import main as train_main
from tests.conftest import run_settings


@pytest.fixture
def keyless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """W&B without a key, and without a run of before or afterwards."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.finish()


@pytest.fixture
def offline(compose_config, tmp_path: Path, keyless):
    overrides = ("subject=people_001", "model=tiny", "seed=3", "logger=wandb", f"run_dir={tmp_path / 'run'}")
    cfg = compose_config("train", *overrides, "logger.group=people")
    [logger] = build_loggers(cfg.logger, run_settings(*overrides))
    return logger


def test_group_tags_settings_and_video_reach_the_run(offline, tmp_path: Path) -> None:
    run = offline.experiment
    assert run.group == "people" and run.tags == ("train", "tiny", "posecrafter")
    assert run.config["seed"] == 3 and run.config["method"]["latent_editing"]["timestep"] == 1000
    assert "logger" not in run.config.as_dict()
    wandb.finish()
    # W&B's own link to its log leads out of the folder; the run goes on there all the same.
    assert not all(path.resolve().is_relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*"))
    with RunFolder(tmp_path / "run").only_writer():
        pass


def test_without_wandb_nothing_is_told_of_a_video(compose_config, tmp_path: Path) -> None:
    cfg = compose_config("train", "subject=people_001", "logger=csv", f"run_dir={tmp_path}")
    log_video("comparison", tmp_path / "absent.mp4", cfg.logger, run_settings("subject=people_001"))
    assert wandb.run is None and not list(tmp_path.iterdir())


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


@pytest.mark.usefixtures("keyless")
def test_a_run_without_a_video_in_a_folder_of_any_name(call_main, tmp_path: Path) -> None:
    """W&B is told of no video that was not made; the logger writes into the folder as it is called."""
    name = "x ${b} \\${c}"
    assert call_main(train_main, *TOY, "logger=wandb", "sample_after_train=false", f"run_dir={name}")[0] == 0
    assert list((tmp_path / name).glob("wandb/offline-run-*")) and not (tmp_path / name / "comparison.mp4").exists()
    # The summary is there, and no other folder.
    assert [path.name for path in tmp_path.iterdir() if (path / "summary.json").exists()] == [name]


@pytest.mark.usefixtures("keyless")
def test_each_job_of_a_sweep_is_a_run_whoever_fine_tuned(call_main, tmp_path: Path, monkeypatch) -> None:
    """Also where the fine-tune came from the cache; what is finished begins no other."""

    def make_run(settings, run, *, loggers, overrides) -> dict:
        if run.summary() is not None:
            return run.summary()
        if settings.sampling.num_steps == 1:
            loggers()
        write_video(run.path / "comparison.mp4", np.zeros((2, 16, 16, 3), np.uint8), 10)
        return run.save_summary({"sampling": {"reference_frame": 0, "seconds": 1}})

    monkeypatch.setattr("src.runs.make_run.make_run", make_run)
    sweep = ("-m", *TOY, "sampling.num_steps=1,2", "logger=wandb", "hydra.sweep.dir=sweep")
    for _ in range(2):
        assert call_main(train_main, *sweep)[0] == 0
        assert len(list(tmp_path.glob("sweep/*/wandb/offline-run-*"))) == 2
        assert [len(list((tmp_path / f"sweep/{job}").rglob("media/videos/*.mp4"))) for job in (0, 1)] == [1, 1]


@pytest.mark.usefixtures("keyless")
def test_loggers_of_one_process_have_runs_of_their_own(compose_config, tmp_path: Path) -> None:
    """As of the subjects of a benchmark, and of its result."""
    runs = []
    for name in ("one", "two"):
        overrides = ("subject=people_001", "model=tiny", "logger=wandb", f"run_dir={tmp_path / name}")
        [logger] = build_loggers(compose_config("train", *overrides).logger, run_settings(*overrides))
        runs.append(logger.experiment.id)
        assert list((tmp_path / name / "wandb").glob("offline-run-*"))
    assert runs[0] != runs[1]


@pytest.mark.usefixtures("keyless")
def test_who_has_switched_wandb_off_gets_no_files(compose_config, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    overrides = ("subject=people_001", "model=tiny", "logger=wandb", f"run_dir={tmp_path / 'run'}")
    assert build_loggers(compose_config("train", *overrides).logger, run_settings(*overrides))
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.usefixtures("keyless")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+logger.foo=3", "unexpected keyword argument 'foo'"),
        ("logger._target_=no.such", "Error locating target 'no.such'"),
        ("logger=wandb logger.project=a/b", "logger=wandb could not start: Invalid project name 'a/b'"),
    ],
)
def test_a_logger_that_cannot_be_made_is_one_line(call_main, monkeypatch, given: str, said: str) -> None:
    monkeypatch.setattr("src.runs.make_run.make_run", lambda settings, run, *, loggers, overrides: loggers())
    status, stderr = call_main(train_main, *TOY, "run_dir=x", *given.split())
    assert status == 2 and stderr.startswith("error: ") and said in stderr and stderr.count("\n") == 1


@pytest.mark.usefixtures("keyless")
def test_what_wandb_refuses_is_a_user_error_for_who_goes_on(compose_config, tmp_path: Path) -> None:
    """As a benchmark does with its other subjects, without a traceback of each."""
    overrides = ("subject=people_001", "model=tiny", "logger=wandb", f"run_dir={tmp_path}")
    cfg = compose_config("train", *overrides, "logger.project=a/b")
    with pytest.raises(UserError, match=r"^logger=wandb could not start: Invalid project name 'a/b'"):
        build_loggers(cfg.logger, run_settings(*overrides))


@pytest.mark.usefixtures("keyless")
def test_a_finished_run_whose_video_wandb_refuses_is_finished(call_main, monkeypatch) -> None:
    """Its fine-tune came from the cache, so that W&B starts after everything is written."""
    done = {"sampling": {"reference_frame": 0, "seconds": 1}}
    monkeypatch.setattr("src.runs.make_run.make_run", lambda settings, run, **rest: done)
    warned = []
    monkeypatch.setattr("src.app.loggers.log.warning", lambda text, *values: warned.append(text % values))
    assert call_main(train_main, *TOY, "run_dir=x", "logger=wandb", "logger.project=a/b") == (0, "")
    [line] = warned
    assert line.startswith("the run is finished, but W&B has nothing of it: logger=wandb could not start: Invalid")


@pytest.mark.usefixtures("keyless")
def test_wandb_is_told_of_a_run_that_failed(call_main, monkeypatch) -> None:
    """In the fine-tune, of which a benchmark goes on with its next subject, and behind it."""
    ended = []
    finish = wandb.finish
    monkeypatch.setattr(wandb, "finish", lambda exit_code=None: (ended.append(exit_code), finish(exit_code)))
    run = (*TOY, "logger=wandb", "sampling.num_steps=1")
    status, stderr = call_main(train_main, *run, "run_dir=x", "trainer.max_steps=9", "optimizer.lr=1000")
    assert status == 2 and "diverged" in stderr and ended == [1]
    refused = UserError("no video")
    monkeypatch.setattr("src.runs.person.generate", lambda *given, **settings: (_ for _ in ()).throw(refused))
    status, stderr = call_main(train_main, *run, "run_dir=y")
    assert status == 2 and "error: no video" in stderr and ended == [1, 1]
