"""Sweeps and experiments through the real command line: what is refused before a job starts."""

from src.train import main

JOBS = ("subject=people_001", "model=tiny", "sample_after_train=false")


def test_steps_that_an_experiment_does_not_know_are_said(call_main):
    status, stderr = call_main(main, "-m", "experiment=ablation_frames", "data.num_frames=3", *JOBS)
    assert status == 2
    said = "error: data.num_frames=3: the experiment knows the steps of 8, 16, 32 frames alone; give +steps.3=STEPS"
    assert said in stderr and "null" not in stderr
