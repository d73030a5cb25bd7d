"""The folders of `src.sample`: one for each video, the same for the same command, none in place of a run's own."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.common.reading import read_json
from src.media.video import read_video, write_video
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.formats import load_poses, save_poses
from src.runs.keeping import keep_in
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.sample import main

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_frames=3")


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train("subject=people_001", *FAST, "data.num_test_frames=2", f"run_dir={folder}", "sample_after_train=false")
    return folder


@pytest.fixture
def world(trained: Path, tmp_path: Path) -> Path:
    """A run of its own, and two drivers of one name."""
    shutil.copytree(trained, tmp_path / "run")
    poses = render_clip(sample_identity(3), "talk", 4, 64, 3)[1]
    (tmp_path / "other").mkdir()
    save_poses(tmp_path / "dance.npz", poses[:3])
    save_poses(tmp_path / "other/dance.npz", poses[1:])
    return tmp_path


def test_another_video_does_not_take_the_place_of_an_earlier_one(world, call_main, monkeypatch):
    commands = {
        "dance": ("poses=dance.npz",),
        "dance-2": ("poses=dance.npz", "prompt=red hair"),
        "dance-3": ("poses=dance.npz", "prompt=red hair", "seed=5"),
        "dance-4": ("poses=dance.npz", "method.latent_editing.parts=[]"),
        "dance-5": ("poses=dance.npz", "sampling.guidance_scale=3"),
        "dance-6": ("poses=other/dance.npz",),
    }
    for name, command in commands.items():
        said = []
        monkeypatch.setattr("src.common.writers.log.info", lambda text, *names, said=said: said.append(text % names))
        assert call_main(main, "run=run", *command) == (0, "")
        assert [line.rpartition("/")[2] for line in said] == [name][name == "dance" :]
        assert len(list((world / "run/samples").iterdir())) == list(commands).index(name) + 1
    assert read_json(world / "run/samples/dance-2/summary.json")["prompt"] == "red hair"
    frames = {name: read_video(world / "run/samples" / name / "frames").frames for name in commands}
    # What only the files depend on is no other video.
    for name in ("dance-6", "dance-3", "dance"):
        assert call_main(main, "run=run", *commands[name], "audio=none") == (0, "")
    assert sorted(path.name for path in (world / "run/samples").iterdir()) == sorted(commands)
    for name in commands:
        assert np.array_equal(frames[name], read_video(world / "run/samples" / name / "frames").frames)


def test_no_sample_takes_the_place_of_a_runs_own_video(world, call_main):
    before = {path: path.stat().st_mtime_ns for path in (world / "run").rglob("*")}
    write_video(world / "me.mp4", np.zeros((2, 64, 64, 3), np.uint8), 10)
    for command in (("run=run", "poses=dance.npz"), ("method=magicanimate", "subject=me.mp4", "poses=dance.npz")):
        status, stderr = call_main(main, *command, "output=run")
        assert status == 2 and stderr.count("\n") == 1
        assert stderr.startswith("error: output=run is a run folder (adapter.safetensors in it), whose own video")
    # It would be gone with the frames of the run, of a repair's segment or of a benchmark, when these are made again.
    for place in ("frames/mine", "segments/00002-00004", "held_out_3e4e537a16/mine"):
        status, stderr = call_main(main, "run=run", "poses=dance.npz", f"output=run/{place}")
        lies = f"error: output=run/{place} lies in {place.partition('/')[0]} of a run folder (adapter"
        assert status == 2 and stderr.startswith(lies)
    assert {path: path.stat().st_mtime_ns for path in (world / "run").rglob("*")} == before


def test_a_second_film_at_once_is_refused_before_anything_is_loaded(world, call_main, monkeypatch):
    def loaded(*args):
        raise AssertionError("models were loaded")

    monkeypatch.setattr("src.runs.person.build_models", loaded)
    for output, command in (("run/samples/dance", ()), ("film", ("output=film",))):
        with RunFolder(world / output).only_writer():
            status, stderr = call_main(main, "run=run", "poses=dance.npz", *command)
        assert status == 2 and stderr.count("\n") == 1
        assert f"another process is writing into {output}: wait until it has finished" in stderr


def test_the_key_of_a_video_is_that_of_its_windows(world):
    """One is found from the adapter's file, the other from the model that has it."""
    person = Person.load(RunFolder(world / "run"))
    sampling = replace(person.settings.sampling, window_frames=2)
    job = person.job(load_poses(world / "dance.npz"), fps=10.0, sampling=sampling)
    kept = keep_in(person.run, person.settings, job, person.settings.trainer, person.models[1])
    assert kept is not None and kept.key == person.video_key(job)
