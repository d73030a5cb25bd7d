"""Settings from plain data: every fault is told in one line."""

import pytest

from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.common.typed import typed


@pytest.mark.parametrize("word", ["int", "list[int]", "x"])
def test_a_list_of_words_is_refused_in_one_line_whatever_the_words(word: str) -> None:
    """Among them the names that the checker gives to the members of a union."""
    with pytest.raises(UserError, match="devices"):
        typed(TrainerSettings, {"devices": [1, word]})
