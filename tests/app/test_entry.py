import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf

import src.app.entry
import src.info
from eval.benchmark.retarget_settings import RetargetSettings
from eval.benchmark.settings import BenchmarkSettings
from src.common.atomic import atomic_path
from src.common.errors import UserError
from src.common.typed import given as given_of
from src.common.typed import typed
from src.inpainting.settings import RepairSettings
from src.runs.settings import RunSettings
from src.sampling.settings import MethodSettings, SamplingSettings
from src.showcase.settings import GallerySettings
from tests.conftest import ROOT

# Each entry point with each choice of each of its groups, and what must be given.
ENTRY_POINTS = {
    "train": ["subject=x"],
    "sample": ["run=x", "poses=y"],
    "info": [],
    "bench": [],
    "poses": ["poses=x"],
    "repair": ["video=x", "segments=[[1,2]]"],
    "gallery": [],
    "retarget": [],
    "score_bench": [],
    "known_truth": [],
}
GROUPS = ("model", "method", "pose", "trainer", "logger", "optimizer", "data", "sampling", "smooth")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (src.app.entry.CONF_DIR / group).glob("*.yaml"))


@pytest.mark.parametrize(
    ("entry", "settings"),
    [
        ("train", RunSettings),
        ("eval", BenchmarkSettings),
        ("repair", RepairSettings),
        ("gallery", GallerySettings),
        ("retarget", RetargetSettings),
    ],
)
def test_every_setting_of_a_command_that_learns_can_be_given(entry, settings, compose_config):
    """Hydra refuses what no file of `conf/` has, whatever the settings know."""
    required = ENTRY_POINTS.get(entry, ["benchmark=people"])
    assert {field.name for field in fields(settings)} <= set(compose_config(entry, *required))


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_every_choice_of_every_group_composes(entry, compose_config):
    """One of each group at a time: the first of all groups, then the second of those that have so many."""
    required = ENTRY_POINTS[entry]
    base = compose_config(entry, *required)
    offered = [
        [f"{group}={choice}" for choice in choices(group)]
        for group in GROUPS
        if group in base and (entry != "sample" or group in ("pose", "smooth"))
    ]
    for chosen in zip_longest(*offered):
        given = [choice for choice in chosen if choice is not None]
        assert {choice.partition("=")[0] for choice in given} <= set(compose_config(entry, *required, *given)), given


def test_the_names_that_users_set_have_their_documented_defaults(compose_config):
    cfg = compose_config("train", "subject=x", "model=sd15")
    assert (cfg.data.num_frames, cfg.data.num_test_frames, cfg.data.resolution, cfg.data.batch_frames) == (
        8,
        100,
        512,
        8,
    )
    assert (cfg.trainer.max_steps, cfg.optimizer.lr, cfg.sample_after_train) == (200, 3e-5, True)
    assert (cfg.sampling.num_steps, cfg.sampling.guidance_scale) == (50, 12)
    assert typed(MethodSettings, cfg.method, "method") == MethodSettings()
    assert typed(SamplingSettings, cfg.sampling, "sampling") == SamplingSettings()
    assert compose_config("train", "subject=x", "optimizer=paper").optimizer.lr == 0.003
    mini = compose_config("train", "subject=x")
    assert mini.model.name == "mini" and mini.data.resolution == 128
    assert compose_config("train", "subject=x", "data.resolution=64").data.resolution == 64


@pytest.mark.parametrize(("preset", "num_steps", "predictions"), [("fast", 10, 2), ("draft", 6, 2)])
def test_a_preset_of_sampling_changes_steps_and_approximation_alone(preset, num_steps, predictions, compose_config):
    for model in ("mini", "sd15"):
        plain, quick = (
            typed(SamplingSettings, compose_config("train", "subject=x", f"model={model}", *given).sampling, "sampling")
            for given in ([], [f"sampling={preset}"])
        )
        assert plain.approximation.off and not quick.approximation.off
        assert (quick.num_steps, quick.inversion_iterations) == (num_steps, predictions)
        same = {name: getattr(plain, name) for name in ("approximation", "num_steps", "inversion_iterations")}
        assert replace(quick, **same) == plain
    own = compose_config("train", "subject=x", f"sampling={preset}", "sampling.num_steps=7").sampling
    assert typed(SamplingSettings, own, "sampling").num_steps == 7
    assert list(given_of(compose_config("sample", "run=x", "poses=x", f"sampling={preset}").sampling)) == [
        "num_steps",
        "inversion_iterations",
        "approximation",
    ]


def test_controlvideo_is_the_same_model_without_the_techniques(compose_config):
    method = typed(MethodSettings, compose_config("train", "subject=x", "method=controlvideo").method, "method")
    assert (method.name, method.init, method.latent_editing.parts) == ("controlvideo", "inversion", [])
    assert not method.reference_selection and not method.reference_insertion


def test_info_prints_json_and_needs_no_weights(run_module):
    done = run_module("src.info", "model=sd15")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trainable_parameters"] == 72_130_240


@pytest.mark.parametrize("logger", ["csv", "tensorboard", "wandb"])
def test_loggers_start_without_a_key_or_a_network(logger, compose_config, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = compose_config("train", "subject=x", f"logger={logger}", f"run_dir={tmp_path}/run")
    made = instantiate(cfg.logger)
    made.log_metrics({"train/loss": 0.5}, step=1)
    made.save()
    made.finalize("success")
    if logger == "wandb":
        made.experiment.finish()
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_step": 3}, "sampling.num_step is unknown: did you mean sampling.num_steps?"),
        ({"steps": 3}, "sampling.steps is unknown: did you mean sampling.num_steps?"),
        ({"colour": 3}, "sampling.colour is unknown: there are num_steps, inversion_iterations, guidance_scale, nega"),
        ({"num_steps": "many"}, "sampling.num_steps=many: input should be a valid integer"),
        ({"num_steps": 0}, "sampling.num_steps=0 is not in 1 to 999"),
        ({"inversion_iterations": 0}, "sampling.inversion_iterations=0 must be at least 1"),
    ],
)
def test_settings_are_checked_before_anything_else(changes, message):
    with pytest.raises(UserError, match=message):
        typed(SamplingSettings, changes, "sampling")


def test_user_errors_are_one_line():
    assert str(UserError("a\n   long\nstory")) == "a long story"


def test_a_missing_network_is_left_to_the_error_that_comes_of_it():
    """In a process of its own: a library reads how much it may say when it is imported."""
    said = (
        "import warnings; from src.app.entry import _quiet_libraries as quiet; quiet()\n"
        "from huggingface_hub.utils import logging\n"
        "logging.get_logger('huggingface_hub.utils._http').warning('Retrying in 1s')\n"
        "warnings.warn('The `local_dir_use_symlinks` argument is deprecated', UserWarning)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_VERBOSITY"}
    done = subprocess.run([sys.executable, "-c", said], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path):
    (tmp_path / "file.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "file.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    for content in "ab":
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["b"]


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml")))
def test_every_experiment_composes_with_each_of_its_values(experiment, compose_config, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = OmegaConf.load(ROOT / "experiments" / f"{experiment}.yaml")
    swept = OmegaConf.select(text, "hydra.sweeper.params")
    assert swept, "an experiment says what it sweeps"
    for key, values in swept.items():
        each = str(values).replace("],[", "];[").split(";" if "[" in str(values) else ",")
        [override] = OverridesParser.create().parse_overrides([f"{key}={values}"])
        assert len(override.value().list if override.is_choice_sweep() else [values]) == len(each)
        # Subjects are names alone: one of a hundred composes as the next does.
        for value in (each[0], each[-1]) if key == "subject" else each:
            required = [] if key == "subject" else ["subject=people_001"]
            cfg = compose_config("train", f"experiment={experiment}", *required, f"{key}={value}")
            assert cfg.subject and OmegaConf.to_container(cfg, resolve=False)
            assert cfg.trainer.max_steps > 0
