"""Every stage, broken off before each of its renames once, goes on to the bits of one that nothing disturbed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.common import atomic
from tests.chaos import folders
from tests.chaos.world import STAGES
from tests.robustness.conftest import run_command, start

MOST = 40


class Broken(BaseException):
    """What stands for a kill: nothing of the program's catches it."""


@pytest.mark.parametrize("stage", ["prepare", "train", "sample", "show", "repair", "score", "report"])
def test_broken_off_before_every_rename(finished: Callable[[str], Path], tmp_path: Path, monkeypatch, stage) -> None:
    expected, put, command = folders.content(finished(stage)), atomic._put, STAGES[stage].command
    monkeypatch.setattr(atomic, "_fsync", lambda path: None)
    number = count = 0
    for number in range(1, MOST):
        folder, count = tmp_path / str(number), 0
        start(stage, folder, finished)

        def breaking(new: Path, path: Path, number: int = number) -> None:
            nonlocal count
            count += 1
            if count == number:
                raise Broken
            put(new, path)

        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_put", breaking)
            try:
                run_command(command, folder)
            except Broken:
                pass
            else:
                break
        run_command(command, folder)
        assert folders.difference(expected, folders.content(folder)) == [], f"broken off before rename {number}"
        assert folders.leftovers(folder) == []
        folders.remove(folder)
    assert 1 < number < MOST - 1 and count == number - 1, "the test must have met every rename"
