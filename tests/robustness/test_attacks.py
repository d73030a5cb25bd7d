"""What a shared folder could try: code by name, by resolver or by pickle, paths that lead out. Nothing happens."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from src.common.checkpoints import usable
from src.prepare import main as prepare
from src.sample import main as sample
from src.train import main as train
from tests.chaos import folders
from tests.chaos.damage import Payload
from tests.chaos.processes import MODULES, Command
from tests.chaos.world import STAGES

SECRET = "what nobody may read"
TARGETS = {
    "function": {"_target_": "os.system", "_args_": ["touch owned"]},
    "hub": {"_target_": "torch.hub.load", "repo_or_dir": ".", "model": "owned", "source": "local"},
    "partial": {"_target_": "builtins.exec", "_partial_": False, "_args_": ["open('owned', 'w')"]},
}
RESOLVED = "${oc.env:SECRET} ${package_path:x} ${now:%Y} ${hydra:runtime.cwd} ${free_gpu:}"


@pytest.fixture
def shared(finished: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that came from somebody: a subject, its run and a result; with a trap for what would be run."""
    monkeypatch.setenv("SECRET", SECRET)
    folders.copy(finished("score"), tmp_path)
    (tmp_path / "hubconf.py").write_text("open('owned', 'w')\n")
    return tmp_path


def assert_nothing_happened(folder: Path) -> None:
    assert not (folder / "owned").exists(), "it ran"
    told = [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert told == [], "it told the secret"


def edit(path: Path, **changes: object) -> None:
    """Change a JSON or YAML file, dots in names for keys below."""
    load, dump = (json.loads, json.dumps) if path.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    values = load(path.read_text())
    for name, value in changes.items():
        node = values
        *above, last = name.split(".")
        for key in above:
            node = node[key]
        node[last] = value
    path.write_text(dump(values))


def refused(call_main, command: Command) -> str:
    """Run a command that must be refused; its one line."""
    status, stderr = call_main(import_module(MODULES[command.name]).main, *command.arguments)
    assert status == 2 and stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    return stderr


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("key", ["trainer.plugins", "trainer", "logger", "callbacks", "pose", "model.base", "x"])
def test_a_target_in_a_runs_settings(shared: Path, call_main, key: str, target: str) -> None:
    edit(shared / "run/config.yaml", **{key: TARGETS[target]})
    for command in (STAGES["sample"].command, Command("train", ("repeat=run", "run_dir=again"))):
        assert "run/config.yaml" in refused(call_main, command)
    assert_nothing_happened(shared)
    assert not (shared / "again").exists() and not (shared / "out").exists()


def test_a_run_as_hydra_config(shared: Path, call_main) -> None:
    """The old advice, `--config-path <run>`, is no way in either."""
    edit(shared / "run/config.yaml", **{"logger": TARGETS["function"], "hydra": {"job": {"chdir": True}}})
    edit(shared / "run/config.yaml", repeat=None)
    for arguments in (("--config-path", "run"), ("-cp", "run"), ("--config-path=run",)):
        status, stderr = call_main(train, *arguments, "--config-name", "config")
        assert status == 2 and "repeat=run takes its settings" in stderr
    assert_nothing_happened(shared)


@pytest.mark.parametrize(
    ("file", "key", "stages"),
    [
        ("run/training/clip.json", "prompt", ["sample", "show"]),
        ("run/config.yaml", "prompt", ["sample"]),
        ("run/config.yaml", "target_prompt", ["sample"]),
        ("data/me/subject.yaml", "prompt", ["train"]),
        ("scores.json", "method", ["report"]),
        ("scores.json", "benchmark", ["report"]),
    ],
)
def test_a_resolver_is_text(shared: Path, call_main, file: str, key: str, stages: list[str]) -> None:
    edit(shared / file, **{key: RESOLVED})
    for stage in stages:
        command = STAGES[stage].command
        arguments = [a.replace("run_dir=run", "run_dir=new") for a in command.arguments]
        status, stderr = call_main(import_module(MODULES[command.name]).main, *arguments)
        assert status == 0, stderr
        assert SECRET not in stderr
    assert_nothing_happened(shared)


def test_targets_and_resolvers_in_a_sweep(shared: Path, call_main) -> None:
    (shared / "sweep").mkdir()
    shutil.move(shared / "run", shared / "sweep/0")
    edit(shared / "sweep/0/summary.json", overrides=[RESOLVED, "method=${oc.env:SECRET}", "../../x", "=1+1", "<b>"])
    command = Command("report", ("sweep=sweep", "metrics=[ssim]", "output=report"))
    status, stderr = call_main(import_module(MODULES["report"]).main, *command.arguments)
    assert status == 0, stderr
    edit(shared / "sweep/0/config.yaml", **{"trainer.plugins": TARGETS["function"]})
    assert "trainer.plugins" in refused(call_main, command)
    assert_nothing_happened(shared)


PICKLES = {
    "run/adapter.safetensors": [STAGES["sample"].command],
    "run/training/poses.npz": [STAGES["sample"].command],
    "run/config.yaml": [STAGES["sample"].command, Command("train", ("repeat=run", "run_dir=again"))],
    "run/training/clip.json": [STAGES["sample"].command],
    "data/me/frames.npy": [Command("train", ("subject=me", "model=tiny", "run_dir=new"))],
    "data/me/poses.npz": [Command("train", ("subject=me", "model=tiny", "run_dir=new"))],
    "data/me/subject.yaml": [Command("train", ("subject=me", "model=tiny", "run_dir=new"))],
    "scores.json": [STAGES["report"].command],
    "clip.npz": [STAGES["sample"].command],
    "clip.mp4": [Command("prepare", ("video=clip.mp4", "name=new", "pose=file", "pose.path=clip.npz"))],
    "weights.ckpt": [Command("train", ("subject=me", "model=sd15", "model.base=weights.ckpt", "run_dir=new"))],
    "weights.safetensors": [Command("train", ("subject=me", "model=sd15", "model.base=weights.safetensors"))],
    "vae.pt": [Command("train", ("subject=me", "model=mini", "model.vae=vae.pt", "run_dir=new"))],
}


@pytest.mark.parametrize("kind", ["pickle", "torch"])
@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_under_any_name(shared: Path, call_main, name: str, kind: str) -> None:
    if kind == "pickle":
        (shared / name).write_bytes(pickle.dumps(Payload()))
    else:
        torch.save({"state_dict": Payload()}, shared / name)
    for command in PICKLES[name]:
        refused(call_main, command)
    assert_nothing_happened(shared)


@pytest.mark.parametrize("kind", ["pickle", "torch", "half", "empty", "others"])
def test_a_checkpoint_that_is_none_is_passed_over(tmp_path: Path, monkeypatch, kind: str) -> None:
    """And the fine-tune begins anew, which is what a killed one's owner would do."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": Payload()} if kind == "torch" else {"weights": torch.zeros(3)}, path)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload()))
    elif kind == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    assert usable(path) is None and os.listdir() == ["last.ckpt"]


@pytest.mark.parametrize("name", ["../../x", "/x", "a/../../x", "..", "data"])
def test_names_in_a_manifest_lead_nowhere(shared: Path, call_main, name: str) -> None:
    (shared / "clips").mkdir()
    shutil.copy(shared / "clip.mp4", shared / "clips/one.mp4")
    entry = {"source": {"file": name}, "record_sha256": "0", "frames": 1}
    (shared / "data/clips.manifest.json").write_text(json.dumps({"subjects": {name: entry}}))
    before = {path for path in shared.rglob("*") if "data" not in path.parts}
    options = ("dataset=folder", "dataset.root=clips", "pose=file", "pose.path=clip.npz", "data.resolution=64")
    assert call_main(prepare, *options)[0] == 0
    assert {path for path in shared.rglob("*") if "data" not in path.parts} == before
    assert not (shared.parent / "x").exists() and not Path("/x").exists()


def test_a_folder_that_is_not_ours_stays(shared: Path, call_main) -> None:
    (shared / "mine/frames").mkdir(parents=True)
    (shared / "mine/frames/holiday.png").write_bytes(b"mine")
    mine = folders.content(shared / "mine")
    sampling = ("run=run", "poses=clip.npz")
    for main, arguments in (
        (sample, (*sampling, "output=mine")),
        (train, (*STAGES["train"].command.arguments, "run_dir=mine")),
    ):
        status, stderr = call_main(main, *arguments)
        assert status == 2 and "mine holds frames, which was not written here before" in stderr
        assert folders.content(shared / "mine") == mine
    for argument in ("run_dir=", "run_dir= "):
        status, stderr = call_main(train, *STAGES["train"].command.arguments, argument)
        assert status == 2 and "an empty name would be the working directory" in stderr
    # Beside what is ours, results may be made again, and what else lies there stays.
    assert call_main(sample, *sampling, "output=out")[0] == 0
    (shared / "out/notes.txt").write_text("mine")
    assert call_main(sample, *sampling, "output=out", "seed=1")[0] == 0
    assert (shared / "out/notes.txt").read_text() == "mine"
