"""Settings of every wrong kind, of every command: one line that names the key, status 2, and nothing written."""

import importlib
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.benchmark.retarget_settings import RetargetSettings
from eval.leaderboard import LeaderboardCommand
from eval.report import ReportCommand
from eval.score import ScoreCommand
from eval.submit_check import CheckCommand
from src.app.as_in_run import GROUPS
from src.app.entry import settings_of
from src.common.errors import UserError
from src.common.typed import FileName, FilePath, _parts, plain, typed
from tests.chaos.damage import ODD_SETTINGS, keys_of, kinds_of
from tests.chaos.inputs import SETTINGS
from tests.chaos.processes import MODULES
from tests.chaos.world import STAGES
from tests.conftest import composed
from tests.robustness.malformed import ODD_NUMBERS, ODD_TEXTS

CONFIGS = {"run": "eval"}
WRONG: list[Any] = [*ODD_NUMBERS, *ODD_TEXTS, *ODD_SETTINGS, math.nan, math.inf, None, [], {}, [None], {"a": 1}, [[0]]]


def values_of(stage: str) -> dict[str, Any]:
    """The settings of a stage's command line, plain."""
    name = STAGES[stage].command.name
    arguments = [a for a in STAGES[stage].command.arguments if "=" in a or a.startswith("~")]
    without = (*GROUPS, "model") if stage == "sample" else ()
    settings = settings_of(SETTINGS[stage], composed(CONFIGS.get(name, name), *arguments), without=without)
    return plain(settings)


def places(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from places(value, (*prefix, key))


@pytest.mark.parametrize("stage", SETTINGS)
def test_every_key_refuses_in_one_line_what_it_does_not_take(stage: str) -> None:
    values, refused = values_of(stage), 0
    for place in places(values):
        *above, last = place
        for wrong in WRONG:
            changed = plain_copy(values)
            node = changed
            for key in above:
                node = node[key]
            node[last] = wrong
            try:
                typed(SETTINGS[stage], changed)
            except UserError as error:
                refused += 1
                line = str(error)
                assert line.isprintable() and len(line) <= 2100, f"{place}={wrong!r}: {line!r}"
    assert refused > 20 * len(list(places(values))) / 2


def plain_copy(values: Any) -> Any:
    return {key: plain_copy(value) for key, value in values.items()} if isinstance(values, dict) else values


@pytest.mark.parametrize("stage", SETTINGS)
def test_the_command_says_so_with_status_2(stage: str, call_main, tmp_path: Path) -> None:
    command = STAGES[stage].command
    main = importlib.import_module(MODULES[command.name]).main
    keys = [key for key in keys_of(SETTINGS[stage]) if "." not in key]
    for argument in (
        *(f"{keys[0]}{odd}" for odd in ("x=1", "=[", "=${nothing}", "={_target_: os.system}")),
        "--nothing",
    ):
        status, stderr = call_main(main, *command.arguments, argument)
        assert status == 2 and stderr.count("\n") == 1 and stderr.startswith("error: "), f"{argument}: {stderr}"
    assert list(tmp_path.iterdir()) == []


COMMANDS = {"score": ScoreCommand, "report": ReportCommand, "leaderboard": LeaderboardCommand}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_path_is_not_the_working_directory(name: str, call_main, tmp_path: Path) -> None:
    files = [key for key, kind in kinds_of(COMMANDS[name]) if {FileName, FilePath} & set(_parts(kind))]
    keys = [key for key in files if "." not in key]
    assert {"output", "weights"} & set(keys) and len(keys) > 2
    given = {"score": ["generated=a"], "report": ["results=a"], "leaderboard": ["folder=a"]}[name]
    main = importlib.import_module(f"eval.{name}").main
    for key in keys:
        for value in ("", "''", "' '"):
            arguments = [argument for argument in given if not argument.startswith(f"{key}=")]
            status, stderr = call_main(main, *arguments, f"{key}={value}")
            assert status == 2 and stderr.count("\n") == 1, f"{key}={value}: {stderr}"
            assert f"{key}=" in stderr and "an empty name would be the working directory" in stderr
    assert list(tmp_path.iterdir()) == []


def test_no_path_is_parsed_or_can_be_empty() -> None:
    """As a setting of the bare type `Path` would be."""
    for cls in (*SETTINGS.values(), *COMMANDS.values(), CheckCommand, RetargetSettings):
        for key, kind in kinds_of(cls):
            tuples = [part for part in _parts(kind) if typing.get_origin(part) is tuple]
            assert Path not in (*_parts(kind), *(inner for part in tuples for inner in typing.get_args(part))), key
