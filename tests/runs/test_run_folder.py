"""A run folder from outside: finished, damaged, changed, of version 0.1, or full of other people's ideas."""

import errno
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import src.runs.make_run
from eval.score import main as score_main
from src.common.errors import UserError
from src.common.paths import MINI_WEIGHTS
from src.common.typed import changed, plain
from src.data.settings import DataSettings
from src.media.video import read_video
from src.models.adapter import MAX_HEADER
from src.pose.formats import load_poses
from src.runs.run_folder import ADAPTER, FINE_TUNE_RECORD, RunFolder
from src.sample import main as sample_main
from src.train import main as train_main

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=2", "data.num_frames=3", "data.num_test_frames=3")
FAST += ("sampling.num_steps=1", "subject=people_001")


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(*FAST, f"run_dir={folder}")
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the finished run, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def no_training(monkeypatch):
    """Fail where a step would be trained."""

    def trained(*args, **options) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("src.runs.learn.fine_tune", trained)


def frames(run: Path) -> np.ndarray:
    return read_video(run / "frames").frames


def edit_config(run: Path, **changes) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**values, **changes}))


@pytest.fixture
def not_looked_for(monkeypatch):
    """Fail where the subject is looked for or a model is built."""

    def looked(*args, **options) -> None:
        raise AssertionError("the place is known to be bad before")

    monkeypatch.setattr("src.runs.make_run.find_subject", looked)
    monkeypatch.setattr("src.runs.person.build_models", looked)


@pytest.mark.parametrize("base", ["/gone/clone/src/models/weights/mini", "/gone/weights/mini", "somebody/mini"])
def test_a_run_of_another_machine_finds_the_weights_that_ship(run, base):
    edit_config(run, model={**yaml.safe_load((run / "config.yaml").read_text())["model"], "base": base})
    ships = base.endswith("src/models/weights/mini")
    assert RunFolder(run).settings().model.base == (str(MINI_WEIGHTS / "mini") if ships else base)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), OSError(errno.ENAMETOOLONG, "too long")])
def test_weights_that_may_not_be_looked_at_are_those_that_ship(run, monkeypatch, error):
    def stat(path, *args, **options):
        if str(path).startswith("/root/clone/"):
            raise error
        return real(path, *args, **options)

    real, base = os.stat, "/root/clone/src/models/weights/mini"
    edit_config(run, model={**yaml.safe_load((run / "config.yaml").read_text())["model"], "base": base})
    monkeypatch.setattr(os, "stat", stat)
    assert RunFolder(run).settings().model.base == str(MINI_WEIGHTS / "mini")


def test_a_model_with_more_to_train_than_an_adapter_holds_is_refused_before(
    call_main, tmp_path, no_training, monkeypatch
):
    monkeypatch.setattr("src.models.adapter.MAX_BYTES", MAX_HEADER)
    status, stderr = call_main(train_main, *FAST, f"run_dir={tmp_path / 'run'}")
    assert status == 2 and stderr.startswith("error: a fine-tune of this model trains ") and stderr.count("\n") == 1


def test_a_place_that_cannot_be_written_is_found_first(run, call_main, not_looked_for, tmp_path):
    """Before what takes minutes; nothing is left there."""
    (tmp_path / "theirs/frames").mkdir(parents=True)
    (tmp_path / "file").touch()
    places = {
        "/proc/x/y": "cannot be written: there is no such file",
        "file": "cannot be written: a part of the path is a file",
        "file/x": "cannot be written: a part of the path is a file",
        "theirs": "holds frames, which was not written here before",
    }
    with RunFolder(tmp_path / "taken").only_writer():
        before = sorted(tmp_path.rglob("*"))
        for place, said in {**places, "taken": "another process is writing into taken"}.items():
            told = f"error: {said if place == 'taken' else f'{place} {said}'}"
            for command in (
                (train_main, *FAST, f"run_dir={place}"),
                (sample_main, f"run={run}", "poses=people_002", f"output={place}"),
            ):
                status, stderr = call_main(*command)
                assert status == 2 and stderr.startswith(told) and stderr.count("\n") == 1, stderr
        assert sorted(tmp_path.rglob("*")) == before


def test_a_finished_run_is_left_alone(run, train, no_training, monkeypatch):
    monkeypatch.setattr("src.runs.person.build_models", None)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert train(*FAST, f"run_dir={run}")["training"]["steps"] == 2
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize("name", ["generated.mp4", "frames/00001.png", "poses.npz", "reference.json"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_what_is_missing_or_changed_is_made_again_without_training(name, damage, run, train, no_training, caplog):
    if name != "frames/00001.png" and damage == "changed":
        pytest.skip("one changed file stands for all")
    expected, path = frames(run), run / name
    assert path.is_file()
    path.unlink() if damage == "missing" else path.write_bytes(b"changed")
    train(*FAST, f"run_dir={run}")
    assert "missing or changed since: made again" in caplog.text
    assert path.is_file() and np.array_equal(frames(run), expected) and len(load_poses(run / "poses.npz")) == 3


def test_a_damaged_adapter_is_trained_again_with_a_warning(run, finished, train, caplog):
    whole = (run / "adapter.safetensors").read_bytes()
    (run / "adapter.safetensors").write_bytes(whole[:-4] + b"\0\0\0\1")
    train(*FAST, f"run_dir={run}")
    assert "is not the adapter that was written with its record: it is made again" in caplog.text
    assert (run / "adapter.safetensors").read_bytes() == whole and np.array_equal(frames(run), frames(finished))


@pytest.mark.parametrize("written", ["now", "before"])
def test_an_edited_prompt_of_the_subject_is_another_run(run, train, monkeypatch, written):
    """The prompt of a subject may be edited in its `subject.yaml`."""

    def built(settings) -> None:
        raise UserError("it is made anew")

    monkeypatch.setattr("src.runs.person.build_models", built)
    summary = json.loads((run / "summary.json").read_text())
    if written == "before":
        del summary["inputs"]["prompt"]
        (run / "summary.json").write_text(json.dumps(summary))
    assert train(*FAST, f"run_dir={run}") == summary, "finished before"
    find = src.runs.make_run.find_subject
    monkeypatch.setattr(src.runs.make_run, "find_subject", lambda settings: replace(find(settings), prompt="edited"))
    with pytest.raises(UserError, match="it is made anew"):
        train(*FAST, f"run_dir={run}")


def test_a_clip_that_was_changed_under_the_same_settings_is_refused_before_anything_is_written(
    run, call_main, monkeypatch
):
    """The training frames above all: `src.sample` would invert one person with what was learnt of another."""

    def another(settings):
        return replace(subject := find(settings), frames=subject.frames[:, :, ::-1])

    find = src.runs.make_run.find_subject
    monkeypatch.setattr(src.runs.make_run, "find_subject", another)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    status, stderr = call_main(train_main, *FAST, "run_dir=run", "method=controlvideo")
    assert status == 2 and "error: run holds a fine-tune of other frames" in stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("damage", ["no adapter", "another adapter", "no record of ours"])
def test_what_was_learnt_and_is_not_whole_refuses_nobody(tmp_path, damage):
    """It is made again, of whatever it was."""
    folder = RunFolder(tmp_path)
    folder.save_fine_tune(lambda path: path.write_bytes(b"weights"), {}, key="old")
    with pytest.raises(UserError, match="holds a fine-tune of other frames"):
        folder.check_fine_tune("new")
    folder.check_fine_tune("old")
    match damage:
        case "no adapter":
            (tmp_path / ADAPTER).unlink()
        case "another adapter":
            (tmp_path / ADAPTER).write_bytes(b"others")
        case _:
            (tmp_path / FINE_TUNE_RECORD).write_text('{"key": [1]}')
    folder.check_fine_tune("new")
    assert folder.fine_tune_record("new") is None


@pytest.mark.parametrize("change", ["sampling.num_steps=2", "sample_after_train=false"])
def test_a_video_is_not_scored_as_one_of_the_settings_that_replace_it(run, call_main, monkeypatch, change):
    def stopped(*args, **options):
        raise UserError("stopped")

    monkeypatch.setattr("src.runs.person.generate", stopped)
    call_main(train_main, *FAST, "run_dir=run", "method=controlvideo", change)
    status, stderr = call_main(score_main, "run=run", "metrics=[psnr]", "output=scores.json")
    assert status == 2 and stderr.startswith("error: run=run is not finished") and stderr.count("\n") == 1


@pytest.mark.parametrize("part", ["frames", "held_out", "training"])
def test_frames_that_a_run_did_not_write_are_not_scored_as_its_own(run, call_main, part):
    """Another video's, the true ones among them, or another reference image."""
    frame = next((run / part).rglob("00000.png"))
    shutil.copyfile(frame.with_name("00001.png"), frame)
    status, stderr = call_main(score_main, "run=run", "metrics=[psnr]", "output=scores.json")
    assert (
        status == 2
        and stderr.startswith(f"error: run=run: {part} missing or changed since")
        and stderr.count("\n") == 1
    )
    assert not Path("scores.json").exists()


def test_settings_that_were_edited_are_not_said_of_the_frames(run, call_main, no_training):
    values = yaml.safe_load((run / "config.yaml").read_text())
    edit_config(run, sampling={**values["sampling"], "guidance_scale": 1.0})
    status, stderr = call_main(score_main, "run=run", "metrics=[psnr]", "output=scores.json")
    assert status == 2 and stderr.startswith("error: run=run: config.yaml missing or changed since it was written")
    assert not Path("scores.json").exists()
    assert call_main(train_main, *FAST, "run_dir=run")[0] == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["sampling"] == values["sampling"]
    assert call_main(score_main, "run=run", "metrics=[psnr]", "output=scores.json")[0] == 0


def test_a_cache_that_cannot_be_written_leaves_the_run_whole(finished, train, tmp_path, caplog, monkeypatch):
    copy = shutil.copyfile

    def read_only(source, target, **options):
        if tmp_path / "cache" in Path(target).parents:
            raise OSError(errno.EROFS, "Read-only file system", str(target))
        return copy(source, target, **options)

    monkeypatch.setattr("src.runs.learn.shutil.copyfile", read_only)
    train(*FAST, f"run_dir={tmp_path / 'run'}", f"fine_tune_cache={tmp_path / 'cache'}")
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("is not kept for other runs" in text and "read-only" in text for text in warnings)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert np.array_equal(frames(tmp_path / "run"), frames(finished))


def test_another_setting_of_the_trainer_is_refused(run, call_main, tmp_path):
    """Not one of a list: whichever decides about the weights."""
    status, stderr = call_main(train_main, *FAST, "run_dir=run", "trainer.gradient_clip_val=0.5")
    expected = "error: run_dir=run holds a run with another trainer.gradient_clip_val (1.0, not 0.5): "
    assert status == 2 and stderr.startswith(expected) and stderr.count("\n") == 1
    assert RunFolder(run).settings().trainer.gradient_clip_val == 1.0


def test_a_run_is_repeated_from_plain_values_alone(run, call_main, tmp_path, monkeypatch):
    """Text that Hydra or OmegaConf would follow stays text; a `_target_` is a key that nobody knows."""
    monkeypatch.setenv("HOME", "/the/secret/home")
    edit_config(run, prompt="${oc.env:HOME} and ${seed}", target_prompt="${now:%Y}")
    options = ("repeat=run", "sample_after_train=false", "run_dir=again", "trainer.max_steps=1")
    assert call_main(train_main, *options) == (0, "")
    settings = RunFolder(tmp_path / "again").settings()
    assert (settings.prompt, settings.target_prompt) == ("${oc.env:HOME} and ${seed}", "${now:%Y}")
    assert RunFolder(tmp_path / "again").training().prompt == "${oc.env:HOME} and ${seed}"
    for changes, key in (
        ({"logger": {"_target_": "os.system", "command": "touch owned"}}, "logger"),
        ({"_target_": "os.system"}, "_target_"),
        ({"pose": {"kind": "file", "_target_": "os.system", "path": None}}, "pose._target_"),
    ):
        shutil.copy(tmp_path / "again/config.yaml", run / "config.yaml")
        edit_config(run, **changes)
        for main, arguments in (
            (train_main, ("repeat=run", "run_dir=third")),
            (sample_main, ("run=run", "poses=run/poses.npz")),
        ):
            status, stderr = call_main(main, *arguments)
            assert status == 2 and stderr.count("\n") == 1 and f"config.yaml: {key} is unknown" in stderr
    assert not (tmp_path / "owned").exists() and not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+method.foo.bar=1", "error: method.foo is unknown: there are "),
        ("+method.init.bar=1", "error: method.init"),
        ("+foo.bar.baz=1", "error: foo is unknown: there are "),
    ],
)
def test_a_change_that_the_repeated_run_has_no_place_for(run, call_main, tmp_path, change, message):
    status, stderr = call_main(train_main, "repeat=run", "run_dir=again", change)
    assert status == 2 and stderr.startswith(message) and stderr.count("\n") == 1, stderr
    assert not (tmp_path / "again").exists()


OLD = """
defaults:
- override hydra/job_logging: stdout
- _self_
hydra:
  run:
    dir: .
  output_subdir: null
subject: people_001
prompt: null
target_prompt: null
seed: 0
run_dir: null
sample_after_train: true
fine_tune_cache: null
checkpoint_every_n_steps: 50
preview: {every_n_steps: 0, num_poses: 4, num_steps: 20}
data:
  root: data
  num_frames: 3
  num_test_frames: 3
  batch_frames: 8
  resolution: 64
  crop: person
  fps: null
  start: 0
  max_frames: null
optimizer:
  _target_: torch.optim.AdamW
  _partial_: true
  lr: 0.001
  weight_decay: 0.01
sampling:
  num_steps: 1
  guidance_scale: 2.0
  negative_prompt: ''
  frame_chunk: 8
method:
  name: posecrafter
  reference_selection: true
  reference_insertion: true
  init: inversion
  reference: single
  min_segment_frames: 8
  latent_editing:
    parts:
    - face
    - left_hand
    - right_hand
    timestep: 1000
    interpolation: bilinear
    preserve_variance: false
pose:
  _target_: src.pose.dwpose.DWPoseExtractor
  detector: https://example.org/yolox.zip
  estimator: https://example.org/rtmpose.zip
  device: auto
  confidence_threshold: 0.3
trainer:
  _target_: lightning.Trainer
  accelerator: cpu
  devices: 1
  precision: bf16-mixed
  max_steps: 2
  max_epochs: -1
  gradient_clip_val: 1.0
  log_every_n_steps: 1
  enable_model_summary: false
logger:
  _target_: lightning.pytorch.loggers.CSVLogger
  save_dir: ${run_dir}
  name: ''
  version: csv
model:
  name: tiny
  base: tiny
  controlnet: null
  configs: tiny
  random_seed: 0
  group_norm: clip
  conditioning_scale: 1.0
  dtype: float32
  gradient_checkpointing: false
  channels_last: false
  compile: false
"""


def old_record(run: Path) -> None:
    """As version 0.1 left it: no checksum, no key."""
    record = json.loads((run / "fine_tune.json").read_text())
    (run / "fine_tune.json").write_text(
        json.dumps({name: value for name, value in record.items() if name not in ("key", "adapter_sha256")})
    )


def test_a_run_of_version_0_1_still_samples(run, finished, call_main, tmp_path):
    (run / "config.yaml").write_text(OLD)
    old_record(run)
    for name, folder in (("old", run), ("new", finished)):
        given = (f"run={folder}", f"poses={run / 'poses.npz'}", f"output={name}", "trainer.precision=bf16-mixed")
        assert call_main(sample_main, *given) == (0, "")
    assert np.array_equal(frames(tmp_path / "old"), frames(tmp_path / "new"))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("src.pose.dwpose.DWPoseExtractor", "os.system", "is no run of this version or of 0.1 (KeyError: 'os.system')"),
        ("reference: single", "reference: ${oc.env:HOME}", "is no run of this version or of 0.1 (KeyError: '${oc"),
        ("num_steps: 1\n", "num_steps: ${seed}\n", "sampling.num_steps=${seed}: input should be a valid integer"),
        ("data:\n  root", "dato:\n  root", "data is missing"),
    ],
)
def test_what_version_0_1_did_not_write_is_one_line(old, new, cause, run, call_main, tmp_path):
    assert OLD.count(old) == 1
    (run / "config.yaml").write_text(OLD.replace(old, new))
    status, stderr = call_main(sample_main, "run=run", "poses=run/poses.npz", "output=out")
    assert status == 2 and stderr.count("\n") == 1 and cause in stderr and "run/config.yaml" in stderr
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_folder_says_so(tmp_path):
    with pytest.raises(UserError, match="is no run folder"):
        RunFolder(tmp_path).settings()


FAST_STEPS = {"features_every": 2, "guidance_every": 2, "guided_timesteps": [0, 700]}
FAST_PRESET = {"num_steps": 10, "inversion_iterations": 2, "approximation": FAST_STEPS}


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (
            ("sampling=fast", "optimizer=paper"),
            {"sampling": FAST_PRESET, "optimizer": {"lr": 0.003}},
        ),
        (("trainer=cpu", "sampling=mini"), {"sampling": {"num_steps": 20, "inversion_iterations": 2}}),
        (("trainer=gpu", "data=default"), {"trainer": {"accelerator": "gpu"}, "data": plain(DataSettings())}),
    ],
    ids=str,
)
def test_a_choice_of_a_group_beside_repeat(run, call_main, monkeypatch, choices, said):
    """It is what its file says, the rest the run's own: nothing is as `model=mini`, the default, sets it."""
    sampling = {**plain(RunFolder(run).settings().sampling), "negative_prompt": "${oc.env:HOME}"}
    edit_config(run, prompt="${oc.env:HOME}", sampling=sampling)
    made = []
    monkeypatch.setattr("src.runs.make_run.make_run", lambda settings, run, **options: made.append(settings) or {})
    assert call_main(train_main, "repeat=run", "run_dir=x", "seed=${data.batch_frames}", *choices) == (0, "")
    [settings] = made
    own = RunFolder(run).settings()
    expected = plain(changed(own, {**said, "seed": own.data.batch_frames, "run_dir": "x"}))
    # What this machine is quick at.
    expected["trainer"]["precision"] = settings.trainer.precision
    assert plain(settings) == expected
