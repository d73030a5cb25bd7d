"""What every stage leaves, made once for all tests of this folder that look at it."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.common import atomic
from tests.chaos import folders
from tests.chaos.processes import MODULES, Command
from tests.chaos.world import STAGES, make_clip


def run_command(command: Command, folder: Path) -> None:
    """Run a command in this process, in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [command.name, *command.arguments])
        importlib.import_module(MODULES[command.name]).main()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By stage, the folder that it left, undisturbed; made when it is asked for. Copy it."""
    root, made = tmp_path_factory.mktemp("world"), {}

    def make(stage: str) -> Path:
        if stage not in made:
            start(stage, root / stage, make)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(atomic, "_fsync", lambda path: None)
                run_command(STAGES[stage].command, root / stage)
            made[stage] = root / stage
        return made[stage]

    return make


def start(stage: str, folder: Path, finished: Callable[[str], Path]) -> None:
    """A new folder in which a stage can start."""
    if needs := STAGES[stage].needs:
        folders.copy(finished(needs[-1]), folder)
    else:
        folder.mkdir()
        make_clip(folder)
