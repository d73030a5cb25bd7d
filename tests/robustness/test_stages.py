"""Every stage, broken off before each of its renames once, goes on to the bits of one that nothing disturbed."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.common import atomic
from tests.chaos import folders
from tests.chaos.processes import MODULES
from tests.chaos.world import STAGES, make_clip


class Broken(BaseException):
    """What stands for a kill: nothing of the program's catches it."""


def run(stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = STAGES[stage].command
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [command.name, *command.arguments])
        importlib.import_module(MODULES[command.name]).main()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """By stage, the folder that it left, undisturbed; made when it is asked for."""
    root, made = tmp_path_factory.mktemp("world"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "_fsync", lambda path: None)

        def make(stage: str) -> Path:
            if stage not in made:
                made[stage] = root / stage
                before(stage, made[stage], make)
                run(stage, made[stage], patch)
            return made[stage]

        yield make


def before(stage: str, folder: Path, finished) -> None:
    """A new folder in which the stage can start."""
    if needs := STAGES[stage].needs:
        folders.copy(finished(needs[-1]), folder)
    else:
        folder.mkdir()
        make_clip(folder)


@pytest.mark.parametrize("stage", ["prepare", "train", "sample", "show", "repair", "score", "report"])
def test_broken_off_before_every_rename(finished, tmp_path: Path, monkeypatch, capfd, stage: str) -> None:
    expected, put = folders.content(finished(stage)), atomic._put
    monkeypatch.setattr(atomic, "_fsync", lambda path: None)
    number, most = 0, 40
    for number in range(1, most):
        folder = tmp_path / str(number)
        before(stage, folder, finished)
        count = 0

        def breaking(new: Path, path: Path, number: int = number) -> None:
            nonlocal count
            count += 1
            if count == number:
                raise Broken
            put(new, path)

        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_put", breaking)
            try:
                run(stage, folder, monkeypatch)
            except Broken:
                pass
            else:
                break
        run(stage, folder, monkeypatch)
        assert folders.difference(expected, folders.content(folder)) == [], f"broken off before rename {number}"
        assert folders.leftovers(folder) == []
        folders.remove(folder)
    assert 1 < number < most - 1, "the test must have met every rename"
    assert count == number - 1
