"""SIGINT and SIGTERM while a command works: one line, its status, nothing half-written, and the command goes on.

The fine-tune's own stop is in `tests/training/test_resume.py`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eval.scoring.from_outside
import src.data.prepare
import src.sampling.sampler
from eval.score import main as score_main
from src.common import stopping
from src.data.subject import load_subject
from src.media.video import read_video, write_frames, write_video
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.formats import save_poses
from src.prepare import main as prepare_main
from src.runs.generated import tree_sha256
from src.sample import main as sample_main
from src.train import main as train_main
from tests.conftest import ROOT

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "data.num_frames=3", "sample_after_train=false")


@pytest.fixture(scope="module")
def run(train, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train("subject=people_001", *FAST, "sampling.num_steps=2", f"run_dir={folder}")
    return folder


@pytest.fixture
def stop_in(monkeypatch):
    """Send a signal to this process in the second call of a function, once."""

    def patch(module, name: str, signum: int) -> None:
        original, calls = getattr(module, name), []

        def stopped(*args, **options):
            calls.append(1)
            if len(calls) == 2:
                os.kill(os.getpid(), signum)
            return original(*args, **options)

        monkeypatch.setattr(module, name, stopped)

    return patch


def assert_stopped(status: int, stderr: str, signum: signal.Signals) -> None:
    line = f"stopped by {signum.name}: what was finished is kept; the same command goes on from there\n"
    assert (status, stderr) == (128 + signum, line)


@pytest.mark.parametrize("signum", SIGNALS)
def test_preparing_stops_and_goes_on(signum, call_main, stop_in, tmp_path):
    frames, poses = render_clip(sample_identity(3), "talk", 6, 64, 3)
    write_video(tmp_path / "clip.mp4", frames, 10)
    save_poses(tmp_path / "poses.npz", poses)
    command = ("video=clip.mp4", "name=me", "pose=file", "pose.path=poses.npz", "data.resolution=32")
    stop_in(src.data.prepare, "crop_frame", signum)
    assert_stopped(*call_main(prepare_main, *command), signum)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".locks", ".poses"], "nothing half-written"
    assert call_main(prepare_main, *command) == (0, "")
    assert len(load_subject("me", tmp_path / "data")) == 6


@pytest.mark.parametrize("signum", SIGNALS)
def test_sampling_stops_and_goes_on_to_the_same_bits(signum, run, call_main, stop_in, tmp_path):
    save_poses(tmp_path / "poses.npz", render_clip(sample_identity(3), "talk", 4, 64, 3)[1])
    command = (f"run={run}", "poses=poses.npz")
    stop_in(src.sampling.sampler, "ddim_invert", signum)
    status, stderr = call_main(sample_main, *command, "output=whole")
    assert (status, stderr) == (0, ""), "one inversion: the second has not come"
    assert_stopped(*call_main(sample_main, *command, "output=cut"), signum)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [".lock"]
    assert call_main(sample_main, *command, "output=cut") == (0, "")
    assert np.array_equal(*(read_video(tmp_path / name / "frames").frames for name in ("whole", "cut")))


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_long_video_goes_on_after_its_last_window(signum, run, call_main, stop_in, tmp_path):
    save_poses(tmp_path / "poses.npz", render_clip(sample_identity(3), "talk", 6, 64, 3)[1])
    command = (f"run={run}", "poses=poses.npz", "sampling.window_frames=2")
    assert call_main(sample_main, *command, "output=whole") == (0, "")
    stop_in(src.sampling.sampler, "ddim_sample", signum)
    assert_stopped(*call_main(sample_main, *command, "output=cut"), signum)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [".lock", "unfinished"]
    first = json.loads((tmp_path / "cut/unfinished/windows.json").read_text())["windows"]
    assert len(first) == 1, "the window before the stop is kept"
    assert call_main(sample_main, *command, "output=cut") == (0, "")
    assert not (tmp_path / "cut/unfinished").exists()
    names = ("frames", "generated.mp4", "comparison.mp4", "reference.json")
    assert [tree_sha256(tmp_path / "cut" / name) for name in names] == [
        tree_sha256(tmp_path / "whole" / name) for name in names
    ]


def test_a_long_video_is_found_again_in_its_run(run, call_main, stop_in, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    save_poses(tmp_path / "poses.npz", render_clip(sample_identity(3), "talk", 6, 64, 3)[1])
    command = ("run=run", "poses=poses.npz", "sampling.window_frames=2")
    stop_in(src.sampling.sampler, "ddim_sample", signal.SIGTERM)
    assert_stopped(*call_main(sample_main, *command), signal.SIGTERM)
    assert call_main(sample_main, *command, "prompt=red hair") == (0, "")
    samples = tmp_path / "run/samples"
    assert len(json.loads((samples / "poses/unfinished/windows.json").read_text())["windows"]) == 1, "still there"
    assert (samples / "poses-2/summary.json").is_file()
    assert call_main(sample_main, *command) == (0, "")
    assert (samples / "poses/summary.json").is_file() and len(list(samples.iterdir())) == 2


def test_the_video_of_a_run_goes_on_after_its_last_window(call_main, stop_in, tmp_path):
    command = ("subject=people_001", *FAST[:-1], "data.num_test_frames=4", "sampling.num_steps=1")
    command += ("sampling.window_frames=2",)
    assert call_main(train_main, *command, "run_dir=whole") == (0, "")
    stop_in(src.sampling.sampler, "ddim_sample", signal.SIGTERM)
    assert_stopped(*call_main(train_main, *command, "run_dir=cut"), signal.SIGTERM)
    assert (tmp_path / "cut/unfinished/windows.json").is_file() and not (tmp_path / "cut/frames").exists()
    assert call_main(train_main, *command, "run_dir=cut") == (0, "")
    assert not (tmp_path / "cut/unfinished").exists()
    assert tree_sha256(tmp_path / "cut/frames") == tree_sha256(tmp_path / "whole/frames")


def test_a_score_that_keeps_nothing_says_how_it_would(call_main, stop_in, tmp_path):
    for name in ("anna", "ben"):
        write_frames(tmp_path / "clips" / name, np.zeros((2, 16, 16, 3), np.uint8))
    command = ("clips", "clips", "metrics=[psnr]", "device=cpu")
    stop_in(eval.scoring.from_outside, "read_clip", signal.SIGINT)
    told = "nothing is kept; with resume=FOLDER the same command would keep what it finishes"
    assert call_main(score_main, *command) == (130, f"stopped by SIGINT: {told}\n")
    stop_in(eval.scoring.from_outside, "read_clip", signal.SIGINT)
    assert_stopped(*call_main(score_main, *command, "resume=kept"), signal.SIGINT)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_first_request_can_wait_and_a_second_does_not(signum):
    with stopping.raising_stops():
        with pytest.raises(stopping.Stopped) as stop, stopping.deferred():
            os.kill(os.getpid(), signum)
            assert stopping.asked() == signum
        assert stop.value.signum == signum and stopping.asked() is None
        done = []
        with pytest.raises(stopping.Stopped), stopping.deferred():
            os.kill(os.getpid(), signum)
            done.append("first")
            os.kill(os.getpid(), signum)
            done.append("second")
        assert done == ["first"]


def test_the_handlers_from_before_come_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stopping.raising_stops():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def foreground() -> None:
    """What a shell leaves to a command in the foreground; one in the background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


STOPPING = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"


@pytest.mark.parametrize("module", ["src.train", "src.info", "eval.run", "eval.score", "src.app.console"])
def test_a_command_that_is_being_imported_stops_in_one_line(module, tmp_path):
    """Ctrl-C comes with the first import of a library, long before a command's own `main`."""
    (tmp_path / "omegaconf.py").write_text(STOPPING)
    arguments = ["train"] if module == "src.app.console" else []
    code = f"import sys; sys.argv[1:] = {arguments}; from src.app.console import main; main()"
    command = [sys.executable, *(["-c", code] if arguments else ["-m", module])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, preexec_fn=foreground
    )
    assert (ended.returncode, ended.stderr) == (130, "stopped by SIGINT: nothing had begun\n")


def test_whoever_imports_the_program_keeps_their_own_answer(tmp_path):
    code = "import signal, src, eval; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60, preexec_fn=foreground)
