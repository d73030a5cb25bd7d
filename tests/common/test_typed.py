"""Settings from plain data: every fault is told in one line."""

import math

import pytest

from eval.scoring.protocol import PSNRProtocol
from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.common.typed import typed


@pytest.mark.parametrize("word", ["int", "list[int]", "x"])
def test_a_list_of_words_is_refused_in_one_line_whatever_the_words(word: str) -> None:
    """Among them the names that the checker gives to the members of a union."""
    with pytest.raises(UserError, match="devices"):
        typed(TrainerSettings, {"devices": [1, word]})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_no_result_could_record_is_refused(value: float) -> None:
    with pytest.raises(UserError, match="^identical=-?(inf|nan) must be a finite number$"):
        typed(PSNRProtocol, {"arithmetic": "float64", "identical": value})


def test_settings_nested_deeper_than_can_be_read_are_one_line() -> None:
    values: dict = {}
    for _ in range(100_000):
        values = {"devices": values}
    with pytest.raises(UserError, match="nested too deeply"):
        typed(TrainerSettings, values)
