"""Sweeps and experiments through the real command line: what is refused before a job starts."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.app.sweep import planned_jobs
from src.train import main

JOBS = ("subject=people_001", "model=tiny", "sample_after_train=false")


def test_steps_that_an_experiment_does_not_know_are_said(call_main):
    status, stderr = call_main(main, "-m", "experiment=ablation_frames", "data.num_frames=3", *JOBS)
    assert status == 2
    said = "error: data.num_frames=3: the experiment knows the steps of 8, 16, 32 frames alone; give +steps.3=STEPS"
    assert said in stderr and "null" not in stderr


@pytest.mark.parametrize("multirun", [(), ("-m",)])
@pytest.mark.parametrize("several", ["logger=[csv,tensorboard]", "sampling=[fast,draft]", "+experiment=[table1]"])
def test_of_a_group_one_is_chosen(call_main, tmp_path: Path, several, multirun):
    status, stderr = call_main(main, *multirun, *JOBS, several)
    assert (status, stderr.count("\n")) == (2, 1)
    assert stderr.startswith(f"error: {several}: one choice is made of a group") and not list(tmp_path.iterdir())


def test_an_experiment_needs_its_multirun(call_main, tmp_path: Path):
    status, stderr = call_main(main, "experiment=ablation_frames", *JOBS)
    said = "error: experiment=ablation_frames is a sweep over data.num_frames, subject: give -m as well\n"
    assert (status, stderr) == (2, said) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("launcher", ["gpus", "slurm_local"])
def test_a_run_dir_of_a_file_is_refused_under_every_launcher(call_main, tmp_path: Path, launcher):
    experiments = tmp_path / "mine/experiment"
    experiments.mkdir(parents=True)
    (experiments / "own.yaml").write_text("# @package _global_\nrun_dir: x\n")
    swept = ("-m", "--config-dir=mine", "experiment=own", "seed=0,1", f"hydra/launcher={launcher}")
    status, stderr = call_main(main, *swept, *JOBS)
    assert (status, stderr.count("\n")) == (2, 1)
    assert stderr.startswith("error: run_dir=x: all jobs of the sweep")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("subdir", "task"),
    [
        ("${hydra.job.num}", ["seed=1", "["]),
        ("${hydra.job.num}", ["seed=range(1000000000)"]),
        ("${hydra.job.num}", ["seed=shuffle(1,2)"]),
        ("${hydra.job.num}", ["seed=shuffle(range(1000000000))"]),
        ("${hydra.job.num}", [f"{key}=range(1000)" for key in "abc"]),
        ("${hydra.job.num}", 7),
        (".", ["seed=1,2"]),
    ],
)
def test_a_record_of_a_sweep_that_says_no_jobs_names_none(tmp_path, subdir, task):
    said = {"sweeper": {"params": None}, "overrides": {"task": task}, "sweep": {"subdir": subdir}}
    assert planned_jobs(tmp_path) == {}
    OmegaConf.save(OmegaConf.create({"hydra": said}), tmp_path / "multirun.yaml")
    assert planned_jobs(tmp_path) == {}
    OmegaConf.save(
        OmegaConf.create({"hydra": said | {"overrides": {"task": ["seed=1,2"]}}}), tmp_path / "multirun.yaml"
    )
    assert planned_jobs(tmp_path) == ({"0": "seed=1", "1": "seed=2"} if subdir != "." else {})
