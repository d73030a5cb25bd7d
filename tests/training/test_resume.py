"""A fine-tune that is killed goes on from its last checkpoint, as if nothing had happened."""

import csv
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import src.training.fitting
from src.common.errors import UserError
from src.runs.learn import Lesson, learn_once
from src.runs.run_folder import RunFolder
from src.train import main
from src.training.one_shot_module import OneShotModule

SETTINGS = ("subject=people_001", "model=tiny", "trainer=cpu", "data.num_frames=3", "data.num_test_frames=3")
SETTINGS += ("trainer.max_steps=6", "checkpoint_every_n_steps=2", "sample_after_train=false", "logger=csv")
KEPT = ["checkpoint.json", "last.ckpt"]


def losses(run: Path) -> dict[int, float]:
    with open(run / "csv/metrics.csv") as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory) -> Path:
    """A fine-tune in one go."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(*SETTINGS, f"run_dir={folder}")
    return folder


def assert_same_fine_tune(one: Path, other: Path) -> None:
    tensors = [load_file(run / "adapter.safetensors") for run in (one, other)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert (one / "adapter.safetensors").read_bytes() == (other / "adapter.safetensors").read_bytes()


def test_a_killed_run_goes_on_with_the_same_losses(whole, train, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(*args) -> None:
        if args[1].global_step == 5:
            raise Killed

    run, expected = tmp_path / "killed", losses(whole)
    with monkeypatch.context() as patch:
        patch.setattr(src.training.fitting.StepTimer, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            train(*SETTINGS, f"run_dir={run}")
    assert not (run / "adapter.safetensors").exists()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == KEPT
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4

    with pytest.raises(UserError, match=r"holds a run with another seed \(0, not 3\)"):
        train(*SETTINGS, f"run_dir={run}", "seed=3")
    summary = train(*SETTINGS, f"run_dir={run}")
    assert summary["training"]["steps"] == 6
    resumed = losses(run)
    assert {step: resumed[step] for step in (4, 5)} == {step: expected[step] for step in (4, 5)}
    assert_same_fine_tune(whole, run)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_bits(whole, call_main, tmp_path, monkeypatch, signum):
    """By Ctrl-C, or by a scheduler, which sends SIGTERM: a checkpoint of the very step, one line, and its status."""
    command = (*SETTINGS, "run_dir=run", "checkpoint_every_n_steps=100")
    started = src.training.fitting.StepTimer.on_train_batch_start

    def stop(timer, trainer, *args) -> None:
        started(timer, trainer, *args)
        if trainer.global_step == 3:
            os.kill(os.getpid(), signum)

    with monkeypatch.context() as patch:
        patch.setattr(src.training.fitting.StepTimer, "on_train_batch_start", stop)
        status, stderr = call_main(main, *command)
    assert status == 128 + signum
    assert stderr == f"stopped by {signum.name}: what was finished is kept; the same command goes on from there\n"
    assert (tmp_path / "run/checkpoints/last.ckpt").is_file()
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4 and not (tmp_path / "run/adapter.safetensors").exists()
    assert call_main(main, *command) == (0, "")
    resumed, expected = losses(tmp_path / "run"), losses(whole)
    assert {step: resumed[step] for step in (4, 5)} == {step: expected[step] for step in (4, 5)}
    assert_same_fine_tune(whole, tmp_path / "run")


def test_a_stop_tells_the_folder_that_the_same_command_would_not_find(call_main, tmp_path, monkeypatch):
    """Of a run and of a sweep whose folders are called after the time."""

    def stop(*args, **options) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("src.runs.make_run.learn", stop)
    kept = "stopped by SIGTERM: what was finished is kept; the same command"
    for flags, place in (((), "run_dir=outputs/"), (("-m",), "hydra.sweep.dir=outputs/sweeps/")):
        status, stderr = call_main(main, *flags, *SETTINGS)
        told = re.fullmatch(rf"{kept} with ({place}\S+) goes on from there\n", stderr)
        assert status == 143 and told, stderr
        assert Path(told[1].partition("=")[2]).is_dir()
        assert call_main(main, *flags, *SETTINGS, told[1]) == (143, f"{kept} goes on from there\n")


def test_a_loss_that_is_not_finite_stops_the_run(call_main, tmp_path):
    command = (*SETTINGS, "run_dir=run", "optimizer.lr=1e3", "trainer.gradient_clip_val=null", "trainer.max_steps=30")
    status, stderr = call_main(main, *command)
    assert status == 2 and stderr.count("\n") == 1, stderr
    assert "the fine-tune has diverged" in stderr and "optimizer.lr" in stderr
    assert not (tmp_path / "run/adapter.safetensors").exists() and not (tmp_path / "run/summary.json").exists()
    status, stderr = call_main(main, *SETTINGS, "run_dir=other", "optimizer.lr=1e30")
    assert (status, stderr) == (2, "error: optimizer.lr=1e+30 must be above 0 and at most 1000\n")
    assert not (tmp_path / "other").exists()


def test_a_gradient_that_is_not_finite_reaches_no_checkpoint(call_main, tmp_path, monkeypatch):
    """Of a finite loss; the step after it would tell, but a checkpoint comes before."""
    steps = []

    def overflow(weights, norm: float) -> None:
        steps.append(norm)
        if len(steps) == 4:
            next(iter(weights)).grad.fill_(torch.inf)

    monkeypatch.setattr("src.training.one_shot_module.clip_grad_norm_", overflow)
    status, stderr = call_main(main, *SETTINGS, "run_dir=run")
    assert status == 2 and stderr.startswith("error: the weights are not finite after step 4: the fine-tune has diver")
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2 and all(value.isfinite().all() for value in checkpoint["state_dict"].values())


def test_a_checkpoint_is_kept_without_a_word_of_the_library(train, tmp_path, caplog):
    train(*SETTINGS, f"run_dir={tmp_path}/run")
    assert not [record for record in caplog.records if record.name.startswith("lightning")]


def test_a_preview_that_overflows_does_not_end_the_fine_tune(train, tmp_path, caplog):
    preview = ("preview.every_n_steps=1", "preview.num_steps=1", "preview.num_poses=2", "sampling.guidance_scale=1e38")
    summary = train(*SETTINGS, *preview, "trainer.max_steps=2", f"run_dir={tmp_path}/run")
    assert summary["training"]["steps"] == 2 and (tmp_path / "run/adapter.safetensors").is_file()
    told = [record.message for record in caplog.records if record.name == "src.training.callbacks"]
    assert [line.split(":")[0] for line in told] == ["no preview of step 1", "no preview of step 2"]
    assert "sampling overflowed; give a lower sampling.guidance_scale, trainer.precision=32-true or" in told[0]


@pytest.mark.filterwarnings("error:Be aware that when using")
def test_a_checkpoint_of_an_earlier_version_goes_on_without_a_word(call_main, tmp_path, monkeypatch):
    """Lightning wrote those, whose callback is no longer there."""
    command = (*SETTINGS, "run_dir=run", "trainer.max_steps=2")
    with monkeypatch.context() as patch:
        patch.setattr(src.training.fitting.LastCheckpoint, "state_key", "ModelCheckpoint{'monitor': None}")
        patch.setattr(src.training.fitting.LastCheckpoint, "state_dict", lambda self: {"best_model_score": None})
        assert call_main(main, *command, "trainer.max_time=00:00:00:00")[0] == 2
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert "ModelCheckpoint{'monitor': None}" in checkpoint["callbacks"]
    assert call_main(main, *command) == (0, "")


@pytest.mark.parametrize(("part", "told"), [("loops", "KeyError: 'fit_loop'"), ("moments", "RuntimeError: The size")])
def test_a_checkpoint_of_the_right_outline_and_other_contents_is_one_line(call_main, tmp_path, part, told):
    """It may have come from anyone. What it holds is met where it is loaded, and where the optimiser first uses it."""
    command, path = (*SETTINGS, "run_dir=run", "trainer.max_steps=2"), tmp_path / "run/checkpoints/last.ckpt"
    assert call_main(main, *command, "trainer.max_time=00:00:00:00")[0] == 2
    checkpoint = torch.load(path, weights_only=True)
    if part == "loops":
        checkpoint["loops"] = {}
    else:
        checkpoint["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(7)
    torch.save(checkpoint, path)
    status, stderr = call_main(main, *command)
    refused = f"error: the checkpoint run/checkpoints/last.ckpt cannot be gone on with ({told}"
    assert status == 2 and stderr.count("\n") == 1 and stderr.startswith(refused)
    assert "move it away, and the same command begins anew" in stderr
    assert path.exists()
    path.unlink()
    assert call_main(main, *command) == (0, "")


@pytest.mark.parametrize("where", ["on_fit_start", "on_train_start", "training_step"])
def test_a_defect_behind_a_checkpoint_is_not_taken_for_its_fault(call_main, tmp_path, monkeypatch, where):
    command = (*SETTINGS, "run_dir=run", "trainer.max_steps=2")
    assert call_main(main, *command, "trainer.max_time=00:00:00:00")[0] == 2

    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(OneShotModule, where, fail)
    with pytest.raises(RuntimeError, match="a defect"):
        call_main(main, *command)


def test_a_time_limit_leaves_a_run_to_go_on_with(whole, call_main, tmp_path):
    """The same command, given again and again, comes to the end: each time trains at least a step and keeps it.

    In one file, whether or not a checkpoint was due: what is killed later goes on from the latest.
    """
    command = (*SETTINGS, "run_dir=run", "trainer.max_time=00:00:00:00")
    for step in range(1, 6):
        status, stderr = call_main(main, *command)
        assert status == 2 and stderr.count("\n") == 1
        assert f"step {step} of 6 (trainer.max_time=00:00:00:00): give the same command again to go on" in stderr
        assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == KEPT
        assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == step
        assert not (tmp_path / "run/adapter.safetensors").exists() and not (tmp_path / "run/summary.json").exists()
    assert call_main(main, *command) == (0, "")
    assert_same_fine_tune(whole, tmp_path / "run")


def test_a_checkpoint_of_another_fine_tune_is_not_gone_on_with(tmp_path, caplog):
    """Settings say nothing of frames and poses that were prepared anew: the key does."""
    run, seen = RunFolder(tmp_path / "run"), []

    def train(folder: Path) -> dict[str, int]:
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / "last.ckpt").write_bytes(b"half")
        if len(seen) < 4:
            raise UserError("stopped")
        return {"steps": 1}

    def lesson(key: str) -> Lesson:
        return Lesson(key, train, lambda path: path.write_bytes(b"tensors"), lambda path: None)

    for key in ("poses", "poses", "other poses"):
        with pytest.raises(UserError, match="stopped"):
            learn_once(run, lesson(key), cache=None)
    assert seen == [["checkpoint.json"], ["checkpoint.json", "last.ckpt"], ["checkpoint.json"]]
    assert "is of other frames, poses or weights: the fine-tune begins anew" in caplog.text
    learn_once(run, lesson("other poses"), cache=None)
    assert not (run.path / "checkpoints").exists()
