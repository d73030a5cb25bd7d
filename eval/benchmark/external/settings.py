"""The systems that the benchmark exchanges files with: the config group `system`."""

from typing import Annotated, get_args

from pydantic import Field

from eval.benchmark.external.disco import DisCo, DisCoFineTuned
from eval.benchmark.external.gen2 import Gen2
from eval.benchmark.external.magicanimate import MagicAnimate

AnySystem = Annotated[DisCo | DisCoFineTuned | MagicAnimate | Gen2, Field(discriminator="kind")]


def system_kinds() -> tuple[type, ...]:
    """Every system."""
    return get_args(get_args(AnySystem)[0])
