"""`--help` of every command: what it shows, and that it takes none of the seconds that the libraries' imports take."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import ROOT

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["posecrafter.commands"]
SLOW = ("torch", "torchvision", "diffusers", "transformers", "lightning", "wandb", "scipy")
# A command ends by SystemExit or returns; then what was imported is looked at.
PROBE = """
import importlib, sys
module, _, name = {target!r}.partition(":")
main = getattr(importlib.import_module(module), name)
sys.argv = [module, "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
imported = [name for name in {slow!r} if name in sys.modules]
sys.exit(f"imported: {{imported}}" if imported else 0)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_none_of_the_slow_libraries(command, tmp_path):
    probe = PROBE.format(target=COMMANDS[command], slow=SLOW)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    module = COMMANDS[command].partition(":")[0]
    name = {"doctor": "info"}.get(command, command)  # which is the other with check=true
    assert done.stdout.startswith(f"usage: posecrafter {name} ") and f"python -m {module} " in done.stdout


def test_help_is_shown_where_standard_output_is_not_utf8(run_module, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = run_module("src.prepare", "--help")
    assert done.returncode == 0 and "usage: posecrafter prepare [key=value \\u2026]\n" in done.stdout, done.stderr


def test_help_shows_settings_and_groups_with_their_comments(run_module):
    shown = run_module("src.train", "method=controlvideo", "--help").stdout
    assert "\nprompt: null                  # source prompt p_s; null: the subject's own\n" in shown
    assert "\n\n  posecrafter:\n\n    kind: posecrafter\n" in shown, "what a choice stands on"
    assert "\nmodel: mini, sd15, tiny\n  chosen: mini\n" in shown and "\n      base: ${package_path:" in shown
    assert "\n  chosen: controlvideo, on top of posecrafter\n\n    # The baseline" in shown
    assert "\n    num_frames: 8           # N, training frames (Sec. 5.1)\n" in shown
    assert "defaults:" not in shown and "hydra:" not in shown and "benchmark" not in shown
    assert "\noptimizer: adamw, mini, paper\n  chosen: mini, on top of adamw\n" in shown, "model=mini brings it"
    assert "\n  chosen: none\n\n    # No metrics are kept" in run_module("src.train", "logger=none", "--help").stdout
    shown = run_module("eval.run", "-h").stdout
    assert "\nbenchmark: people, ted, tiktok\n  chosen: to be chosen\n" in shown
    shown = run_module("eval.run", "benchmark=tiktok", "--help").stdout
    assert "\noptimizer: adamw, mini, paper\n  chosen: adamw\n" in shown, "its model is sd15"
    assert "\ndataset: folder, people, ted, tiktok, youtube\n  chosen: tiktok\n" in shown
    shown = run_module("src.poses", "--help").stdout
    assert shown.startswith(
        "usage: posecrafter poses show [key=value …]\n   or: python -m src.poses show [key=value …]\n"
    )
    assert run_module("eval.submit_check", "--help").stdout.startswith("usage: posecrafter submit-check FOLDER [key")


def test_help_fits_the_terminal(run_module, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_module("src.train", "--help").stdout
    comments = [line for line in shown.splitlines() if "# " in line]
    assert comments and max(map(len, comments)) <= 80
    assert (
        "\n    aspect: auto            # square | source (the video's own) | W:H; the\n"
        "                            # longer side is a multiple of 64. auto: source of a\n"
        "                            # clip of your own, square of the clips of a data\n"
        "                            # set and for methods that film squares\n"
        "    crop: person " in shown
    )
    monkeypatch.setenv("COLUMNS", "200")
    assert "# a clip of your own, square of the clips of a data set and for" in run_module("src.train", "--help").stdout
