"""Scoring from Python and from the console, as somebody does who has nothing of ours."""

import ast
import json
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import eval.scoring.clip_store
import eval.scoring.libraries
import src.app.console
from eval import score
from eval.metrics.registry import REGISTRY
from eval.networks.weights import WeightStore
from eval.scoring.clips import ScoredClip, find_clips
from src.common.errors import UserError
from src.media.video import write_frames, write_video
from tests.conftest import ROOT
from tests.eval.conftest import smooth_frames

SCHEMA = json.loads((ROOT / "eval/scoring/result.schema.json").read_text())
PLAIN: dict[str, Any] = {"metrics": ["ssim", "psnr"], "device": "cpu"}


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    real = smooth_frames(6, 32, seed=0)
    return np.clip(real.astype(int) + 3, 0, 255).astype(np.uint8), real


def numbers(result: dict[str, Any]) -> dict[str, float]:
    return {name: entry["value"] for name, entry in result["metrics"].items()}


def test_arrays_tensors_floats_and_loaders_give_the_same_numbers_as_files(tmp_path: Path, pair) -> None:
    generated, real = pair
    for name, frames in (("generated", generated), ("real", real)):
        write_frames(tmp_path / name, frames)
    from_files = score(tmp_path / "generated", str(tmp_path / "real"), **PLAIN)
    tensors = [torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in pair]
    ways = {
        "arrays": score(generated, real, **PLAIN),
        "floats": score(generated / 255, real / 255, **PLAIN),
        "tensors": score(*tensors, **PLAIN),
        "by name": score({"a": generated}, {"a": real}, **PLAIN),
        "loader": score((item for item in [("a", generated, real)]), **PLAIN),
        "clips": score([ScoredClip("a", generated, real, None)], **PLAIN),
    }
    for way, result in ways.items():
        assert numbers(result) == numbers(from_files), way
        jsonschema.validate(result, SCHEMA)
    assert ways["arrays"]["inputs"]["clip"] == from_files["inputs"]["generated"]


def test_a_clip_of_a_loader_is_brought_to_8_bits_as_arrays_are(pair) -> None:
    """As they were, floating-point frames had the best flickering there is: all of their whole numbers are 0."""
    generated, _ = pair
    expected = numbers(score({"a": generated}, metrics="flicker", device="cpu"))
    clip = ScoredClip("a", generated / 255, None, None)
    assert numbers(score([clip], metrics="flicker", device="cpu")) == expected
    assert expected["flicker"] < 1


def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path, pair) -> None:
    generated, real = pair
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(tmp_path / "clear.png")
    for bad, told in (
        (lambda: score([("a", generated, real, tmp_path / "clear.png")], **PLAIN), "has transparent pixels"),
        (lambda: score(generated[0], real[0], **PLAIN), r"must be \(F, H, W, 3\)"),
        (lambda: score(generated * 1.0, real, **PLAIN), r"they must lie in \[0, 1\]"),
        (lambda: score(generated.astype(np.int64), real, **PLAIN), "samples of int64"),
        (lambda: score(generated[:4], real, **PLAIN), "against real ones of"),
        (lambda: score({"a": generated}, {"b": real}, **PLAIN), "must have the same names"),
        (lambda: score([("a",)], **PLAIN), "a loader must yield"),
        (lambda: score([generated, real], **PLAIN), "a loader must yield .*got ndarray"),
        (lambda: score([(generated, real)], **PLAIN), "name must be a text or a number, got ndarray"),
        (lambda: score(generated, real, reference=[0], **PLAIN), "reference image of clip must be .*got list"),
        (lambda: score(torch.from_numpy(generated).to_sparse(), real, **PLAIN), "a dense tensor"),
        (lambda: score(torch.from_numpy(generated).to(torch.float8_e5m2), real, **PLAIN), r"they must lie in \[0, 1\]"),
        (lambda: score(iter([("a", generated, real)]), real, **PLAIN), "leave real= and reference= out"),
        (lambda: score(tmp_path, real, **PLAIN), "real must be one too"),
        (lambda: score("a" * 300, "b", **PLAIN), "the name is too long"),
        (lambda: score(generated, real, protocol="papers", **PLAIN), "protocol"),
        (lambda: score(generated, real, metrics="niqe", device="cpu"), "metrics must be some of"),
    ):
        with pytest.raises(UserError, match=told):
            bad()


def test_a_loader_may_number_its_clips(pair) -> None:
    assert list(score([(0, *pair), (1, *pair)], **PLAIN)["clips"]) == ["0", "1"]


def test_folders_nested_by_subject_and_video_are_scored_in_one_call(tmp_path: Path, pair) -> None:
    generated, real = pair
    for side, frames in (("generated", generated), ("real", real)):
        write_frames(tmp_path / side / "anna" / "dance", frames)
        write_frames(tmp_path / side / "anna" / "talk", frames[:4])
        write_frames(tmp_path / side / "ben" / "dance", frames[:3])
    result = score(tmp_path / "generated", tmp_path / "real", **PLAIN)
    assert {name: entry["frames"] for name, entry in result["inputs"].items()} == {
        "anna/dance": 6,
        "anna/talk": 4,
        "ben/dance": 3,
    }
    write_frames(tmp_path / "images/anna", real[:2])
    with pytest.raises(UserError, match="nothing for the clips anna/dance"):
        score(tmp_path / "generated", tmp_path / "real", reference=tmp_path / "images", **PLAIN)
    (tmp_path / "real/ben/dance").rename(tmp_path / "real/ben/walk")
    with pytest.raises(UserError, match="only in generated: ben/dance; only in real: ben/walk"):
        score(tmp_path / "generated", tmp_path / "real", **PLAIN)
    write_video(tmp_path / "videos/anna/dance.mp4", real, 10)
    write_video(tmp_path / "videos/ben.mp4", real, 10)
    with pytest.raises(UserError, match="holds videos and folders"):
        find_clips(tmp_path / "videos", None)
    (tmp_path / "loop/a").mkdir(parents=True)
    (tmp_path / "loop/a/b").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="folders deep"):
        find_clips(tmp_path / "loop", None)


def test_a_stopped_run_goes_on_and_gives_the_same_numbers(
    tmp_path: Path, pair, random_weights: WeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated, real = pair
    own = {"metrics": ["ssim", "psnr", "clip-t", "lpips"], "device": "cpu", "weights": random_weights.folder}
    own |= {"download": False, "batch_size": 2}  # two clips of six frames are scored before a third is read

    def clips(stop: bool):
        yield "a", generated, real
        yield "b", generated[::-1], real
        if stop:
            raise KeyboardInterrupt
        yield "c", real, real

    whole = score(clips(False), **own)
    with pytest.raises(KeyboardInterrupt):
        score(clips(True), **own, resume=tmp_path / "kept")
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == 2 * 4
    kept[0].write_bytes(b"damaged")
    odd = {name: torch.zeros(2, 2, 2) for name in load_file(kept[1])}
    save_file(odd, kept[1])
    means = [path for path in kept[2:] if "total" in load_file(path)][:2]
    for path, name, change in zip(means, ("total", "count"), (float("nan"), -1), strict=True):
        save_file({**(state := load_file(path)), name: torch.full_like(state[name], change)}, path)
    saved: list[object] = []
    save = eval.scoring.clip_store.ClipStore.save
    monkeypatch.setattr(
        eval.scoring.clip_store.ClipStore, "save", lambda self, *state: (saved.append(state), save(self, *state))
    )
    assert score(clips(False), **own, resume=tmp_path / "kept") == whole
    assert len(saved) == 4 + 4, "the damaged ones, and the last clip's"
    assert score(clips(False), **own, resume=tmp_path / "kept") == whole and len(saved) == 8
    changed = score([("a", real, real)], **own, resume=tmp_path / "kept")
    assert changed["metrics"]["ssim"]["value"] == pytest.approx(1), "another content is another clip"
    saved.clear()
    monkeypatch.setattr(eval.scoring.libraries, "code_sha256", lambda rooms: "of another version")
    assert score(clips(False), **own, resume=tmp_path / "kept") == whole and len(saved) == 3 * 4


def test_another_version_of_our_code_is_told_by_what_it_does(tmp_path: Path) -> None:
    sums = []
    for number, text in enumerate(
        (
            'def peak() -> int:\n    """Of 8 bits."""\n    return 255\n',
            'def peak() -> int:\n    """The largest."""\n\n    # of 8 bits\n    return (255)\n',
            'def peak() -> int:\n    """Of 8 bits."""\n    return 256\n',
        )
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metric.py").write_text(text)
        sums.append(eval.scoring.libraries.code_sha256((tmp_path / str(number),)))
    assert sums[0] == sums[1] != sums[2]


def test_another_python_reads_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its syntax trees have fields more, as those of 3.12 have `type_params`."""
    sums = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metric.py").write_text("def peak() -> int:\n    return 255\n")
        sums.append(eval.scoring.libraries.code_sha256((tmp_path / str(number),)))
        monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "of_later_versions"))
        monkeypatch.setattr(ast.FunctionDef, "of_later_versions", [], raising=False)
    assert sums[0] == sums[1]


def console(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    # The table as it stands here, whatever is installed.
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][src.app.console.GROUP]
    points = EntryPoints(EntryPoint(name, value, src.app.console.GROUP) for name, value in table.items())
    monkeypatch.setattr(src.app.console, "entry_points", lambda group: points.select(group=group))
    monkeypatch.setattr(sys, "argv", ["posecrafter", *words])
    status = 0
    try:
        src.app.console.main()
    except SystemExit as end:
        status = end.code
    return (status, *capsys.readouterr())


def test_the_console_lists_what_each_command_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    status, out, _ = console(monkeypatch=monkeypatch, capsys=capsys)
    lines = out.splitlines()[1:]
    assert status == 0 and len({line.index(" = ") for line in lines}) == 1
    assert "  posecrafter doctor       = python -m src.info check=true" in lines
    assert "  posecrafter info         = python -m src.info" in lines


def test_the_console_takes_generated_and_real_as_they_stand(
    tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generated, real = pair
    odd = tmp_path / "real=1, [b]"
    write_frames(tmp_path / "generated", generated)
    write_frames(odd, real)
    monkeypatch.chdir(tmp_path)
    call = {"monkeypatch": monkeypatch, "capsys": capsys}
    own = ("metrics=[ssim,fvd]", "device=cpu", "download=false", f"weights={tmp_path}", "pairing=order")
    status, out, told = console("score", "generated", odd.name, *own, **call)
    assert status == 0, f"a missing metric is no failure unless it is asked for: {told}"
    result = json.loads(out)
    jsonschema.validate(result, SCHEMA)
    assert result["metrics"]["ssim"] == score(generated, real, **PLAIN)["metrics"]["ssim"]
    status, out, told = console("score", "generated", odd.name, *own, "strict=true", "output=r.json", **call)
    assert status == 3 and told.splitlines()[-1] == "error: missing, with strict=true: fvd"
    assert json.loads((tmp_path / "r.json").read_text())["missing"].keys() == {"fvd"}
    status, _, told = console("score", "generated", odd.name, "third", *own, **call)
    assert status == 2 and told.startswith("error: third is one too many")
    assert not (tmp_path / ".hydra").exists() and not (tmp_path / "outputs").exists()


def test_what_makes_numbers_suspect_is_said_of_arrays_too(pair) -> None:
    generated, real = pair
    assert score(real, real, **PLAIN)["warnings"] == ["generated frames of clip are the true ones, to the bit"]
    (said,) = score(generated.astype(np.uint16) * 16, real, **PLAIN)["warnings"]
    assert said.startswith("generated frames of clip are all but black, at most 1")
    assert score(generated.astype(np.uint16) * 257, real, **PLAIN)["warnings"] == []


def test_importing_the_package_is_cheap_and_scoring_needs_no_hydra() -> None:
    """Also where the command of the function's name was imported before it."""
    look = "import sys, eval; a = 'torch' in sys.modules; from eval import score; assert callable(score), score; "
    look += "import eval.score; from eval import score as again; assert again is score; from eval.score import main; "
    look = look.replace("import eval.score;", "b = 'hydra' in sys.modules; import eval.score;") + "print(a, b)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False False\n", done.stderr


def test_the_schema_is_a_schema_and_refuses_what_is_no_result(pair) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    result = score(*pair, **PLAIN)
    jsonschema.validate(result, SCHEMA)
    for damaged in (
        {key: value for key, value in result.items() if key != "inputs"},
        result | {"metrics": {"ssim": {"value": "high", "frames": 6}}},
        result | {"inputs": {"clip": {"frames": 6, "generated_sha256": "abc"}}},
        result | {"clips": {}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(damaged, SCHEMA)
    assert set(result["metrics"]) <= set(REGISTRY)
