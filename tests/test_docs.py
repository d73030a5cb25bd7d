"""Every command line that README and docs show does what it says, at toy size: read from there, run as it stands."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra.errors import HydraException

from src.media.video import write_video
from src.people.identity import sample_identity
from src.people.render import render_clip
from tests.conftest import ROOT
from tests.models.test_memory import SD15_LIKE

DOCUMENTS = ("README.md", "experiments/SCALE.md", "experiments/EXTERNAL.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
TOY = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.resolution=64")
SHORT = ("data.num_frames=3", "data.num_test_frames=2")
# What is given besides, by command; poses of the rendered clip come from the detector that ships.
SMALL = {
    "src.train": (*TOY, *SHORT, "pose=mini"),
    "src.sample": ("sampling.num_steps=1", "pose=mini"),
    "src.prepare": ("pose=mini", "data.resolution=64"),
    "src.poses": ("pose=mini", "data.resolution=64", *SHORT),
    "src.repair": (*TOY, "data.num_frames=3", "pose=mini"),
    "src.info": (),
    "src.convert": (),
    "eval.retarget": (*TOY, *SHORT, "pairs=[[people_001,people_002]]", "frames=2"),
    "eval.score": ("metrics=[psnr]", "download=false", "device=cpu"),
    "eval.run": (*TOY, "data.num_test_frames=2", "num_frames=3", "subjects=[people_001]", "metrics=[psnr]"),
    "eval.report": ("download=false", "num_videos=1"),
}
# What needs a cluster, the network or weights that nobody has here is composed, and not run.
COMPOSED = (
    "hydra/launcher=",
    "dataset.metadata=",
    "model.base=",
    "method=external",
    "dataset=…",
    "pose.person=",
    "weights=",
)
CONFIGS = {
    "src.train": "train",
    "src.sample": "sample",
    "src.prepare": "prepare",
    "src.convert": "convert",
    "eval.run": "eval",
}


def command_lines(document: str) -> list[str]:
    """Commands in the code blocks of a document, their comments cut off and continued lines joined."""
    fenced = r"^```\w*\n(.*?)^```"
    indented = r"^(    python -m [^\n]*\n)"
    blocks = [a or b for a, b in re.findall(f"{fenced}|{indented}", (ROOT / document).read_text(), re.M | re.S)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].split(" # ")[0].strip() for line in lines if re.match(r"\s*(python -m|make) ", line)]


def settings_shown() -> dict[tuple[str, ...], str]:
    """What any text but `DOCUMENTS` gives to a command as `key=value`, as far as it names values; and where."""
    patterns = ("*.md", "experiments/*", "eval/**/*.md", "src/**/*.md", "conf/**/*.yaml")
    found = {}
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        shown = re.findall(r"python -m ((?:src|eval)\.\w+)([^\n`#(:]*)", path.read_text().replace("\\\n", " "))
        for module, rest in shown:
            words = [word for word in rest.split() if re.fullmatch(r"[a-z][\w.]*=(\[\S*\]|[\w./-]+)", word)]
            where = path.relative_to(ROOT).as_posix()
            if where not in DOCUMENTS and (given := [word for word in words if not word.startswith("hydra")]):
                found[(module, *given)] = where
    return found


def test_every_setting_that_a_text_gives_is_one(compose_config):
    shown, needed = settings_shown(), {"pretrain": "part=vae", "eval": "benchmark=people"}
    assert len(shown) > 15
    for (module, *given), where in shown.items():
        name = {"eval.run": "eval", "eval.bench": "score_bench"}.get(module, module.rpartition(".")[2])
        chosen = {word.partition("=")[0] for word in given}
        more = [needed[name]] if name in needed and needed[name].partition("=")[0] not in chosen else []
        try:
            compose_config(name, *given, *more)
        except HydraException as error:
            pytest.fail(f"{where}: python -m {module} {' '.join(given)}: {error}")


@pytest.fixture
def workspace(tmp_path, monkeypatch, train):
    """A folder with the clips that the documents name, and a finished run."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("clip", 1), ("dance", 4)):
        write_video(tmp_path / f"{name}.mp4", render_clip(sample_identity(seed), "talk", 66, 96, seed)[0], 10)
    train("subject=people_001", *TOY, *SHORT, "run_dir=outputs/run")
    return tmp_path


def filled_in(line: str, folder: Path) -> list[str]:
    """The words of a command, with real names where the document has placeholders."""
    sweeps = sorted((folder / "outputs/sweeps").glob("*"))
    for placeholder, name in (
        ("outputs/<run>", "outputs/run"),
        ("generated=<folder or videos>", "generated=outputs/run/frames"),
        ("real=<folder or videos>", "real=outputs/run/held_out/frames"),
        ("outputs/sweeps/<time>", str(sweeps[-1]) if sweeps else "outputs/sweeps/none"),
    ):
        line = line.replace(placeholder, name)
    return shlex.split(line)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_a_document_runs(document, workspace, call_main, compose_config, monkeypatch):
    # Of full size twice, it takes most of a minute; counts are tested in `test_info.py` and `test_memory.py`.
    monkeypatch.setattr("src.runs.doctor.count_memory", lambda *given, **settings: SD15_LIKE)
    for line in command_lines(document):
        if line.startswith("make "):
            targets = [word for word in shlex.split(line)[1:] if "=" not in word]
            shown = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True)
            assert shown.returncode == 0, f"{document}: {line}: {shown.stderr}"
            continue
        _, _, module, *words = filled_in(line, workspace)
        if any(mark in word for mark in COMPOSED for word in words):
            config = CONFIGS[module]
            # What a shell would fill in is left out, and what is to be named has a name.
            literal = shlex.split(re.sub("<.*?>", "x", re.sub(r"\S*\$\(.*?\)", "", line)))[3:]
            overrides = [word for word in literal if word != "-m" and not word.startswith("hydra")]
            assert compose_config(config, *overrides, *(["subject=x"] if config == "train" else []))
            continue
        assert not [word for word in words if "<" in word], f"{document}: no name for the placeholder in {line}"
        chosen = {word.partition("=")[0] for word in SMALL[module]} if module in SMALL else set()
        kept = [word for word in words if word.partition("=")[0] not in chosen - {"segments"}]
        if any(word.startswith("experiment=") for word in words):
            kept.append("subject=people_001")
        main = importlib.import_module(module).main
        status, stderr = call_main(main, *kept, *SMALL.get(module, ()))
        assert status == 0, f"{document}: {line}: {stderr}"


def test_the_documents_show_commands_and_each_is_known():
    shown = {document: command_lines(document) for document in DOCUMENTS}
    assert len(shown["README.md"]) > 20
    modules = {line.split()[2] for lines in shown.values() for line in lines if line.startswith("python")}
    assert modules == set(SMALL), "every command has a toy size, and every toy size a command"
