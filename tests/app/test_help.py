"""`--help` of every command comes without the seconds that the libraries of the work itself take to import."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import ROOT

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["posecrafter.commands"]
SLOW = ("torch", "torchvision", "diffusers", "transformers", "lightning", "wandb", "scipy")
# Groups of which there is no default.
GIVEN = {"run": ["benchmark=people"], "pretrain": ["part=vae"]}
# A command ends by SystemExit or returns; then what was imported is looked at.
PROBE = """
import importlib, sys
module, _, name = {target!r}.partition(":")
main = getattr(importlib.import_module(module), name)
sys.argv = [module, "--help", *{given!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
imported = [name for name in {slow!r} if name in sys.modules]
sys.exit(f"imported: {{imported}}" if imported else 0)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_none_of_the_slow_libraries(command, tmp_path):
    probe = PROBE.format(target=COMMANDS[command], given=GIVEN.get(command, []), slow=SLOW)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]
