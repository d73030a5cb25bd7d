"""What the machine offers, and that no code asks for CUDA where there may be none."""

import ast
import subprocess
import sys

import pytest

from src.common import system
from src.common.system import devices, execution_providers, quick_precision, video_codecs, writable
from tests.conftest import ROOT

HARMLESS = {"is_available", "device_count", "empty_cache"}  # they do nothing without CUDA


def test_what_is_here_is_found():
    assert devices()["cpu_cores"] >= 1 and "CPUExecutionProvider" in execution_providers()["providers"]
    assert video_codecs()["write"]["libx264"] and video_codecs()["read"]["h264"]


@pytest.mark.parametrize(
    ("accelerator", "dtype", "amx", "precision"),
    [
        ("cpu", "float32", False, "32-true"),
        ("cpu", "float32", True, "bf16-mixed"),
        ("gpu", "float32", False, "bf16-mixed"),
        ("cpu", "bfloat16", False, "bf16-mixed"),
        ("cpu", "float16", False, "16-mixed"),
    ],
)
def test_the_precision_is_the_one_that_is_quick_here(
    accelerator, dtype, amx, precision, monkeypatch, compose_config, tmp_path
):
    monkeypatch.setattr(system, "_has_amx", lambda: amx)
    assert quick_precision(accelerator, dtype) == precision
    given = ("subject=people_001", f"trainer={accelerator}", f"model.dtype={dtype}")
    assert compose_config("train", *given).trainer.precision == precision
    assert compose_config("train", *given, "trainer.precision=64-true").trainer.precision == "64-true"


def test_places(tmp_path):
    assert writable(tmp_path / "not" / "yet")["writable"]
    assert writable("/proc/1")["writable"] is False and writable("/proc/1")["why"]


LIMITED = """
import resource, sys
import numpy as np
from src.common.system import take_workspace

def leave(mebibytes):
    there = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + mebibytes * 2**20, -1))

matrix = np.ones((400, 400))
if sys.argv[1] == "late":
    take_workspace()
leave(16)
if sys.argv[1] == "early":
    take_workspace()
matrix @ matrix
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize("when", ["early", "late"])
def test_without_memory_a_product_of_matrices_does_not_wait_for_it(when: str) -> None:
    command = [sys.executable, "-c", LIMITED, when]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode == 0) == (when == "late"), ended.stderr
    assert when == "late" or "Cannot allocate memory" in ended.stderr


def unguarded(source: str) -> list[int]:
    """Lines that call into CUDA, but below no condition that asks for it."""
    found: list[int] = []

    def visit(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            calls = name.startswith("torch.cuda.") and name.rpartition(".")[2] not in HARMLESS
            if (calls or name.endswith(".cuda")) and not guarded:
                found.append(node.lineno)
        asks = isinstance(node, (ast.If, ast.IfExp)) and "cuda" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, guarded or asks)

    visit(ast.parse(source), False)
    return found


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("torch.cuda.synchronize()", [1]),
        ("model.cuda()", [1]),
        ("if device.type == 'cuda':\n    torch.cuda.synchronize()", []),
        ("if torch.cuda.is_available():\n    x()\ny.cuda()", [3]),
    ],
)
def test_the_search_finds_what_it_should(source, lines):
    assert unguarded(source) == lines


def test_no_call_into_cuda_without_asking():
    files = [path for folder in ("src", "eval") for path in (ROOT / folder).rglob("*.py")]
    found = [f"{path.relative_to(ROOT)}:{line}" for path in files for line in unguarded(path.read_text())]
    assert files and found == []
