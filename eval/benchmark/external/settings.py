"""Settings of the systems that the benchmark exchanges files with: the config group `system`."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from eval.benchmark.external.base import System
from eval.benchmark.external.disco import DisCo, DisCoFineTuned
from eval.benchmark.external.gen2 import Gen2
from eval.benchmark.external.magicanimate import MagicAnimate
from src.common.typed import check_range


@dataclass(frozen=True, kw_only=True)
class SystemSettings:
    """What all systems have.

    Attributes:
        name: of its rows in tables, as `eval/reporting/published.yaml` has it.
        num_frames: how many training frames it sees.
    """

    name: str
    num_frames: int

    def __post_init__(self) -> None:
        check_range("system.num_frames", self.num_frames, least=1)


@dataclass(frozen=True, kw_only=True)
class DisCoSettings(SystemSettings):
    """DisCo's public checkpoint; see `DisCo`."""

    kind: Literal["disco"]
    guidance_scale: float
    num_steps: int

    def build(self) -> System:
        return DisCo(
            name=self.name,
            num_frames=self.num_frames,
            guidance_scale=self.guidance_scale,
            num_steps=self.num_steps,
        )


@dataclass(frozen=True, kw_only=True)
class DisCoFineTunedSettings(SystemSettings):
    """DisCo after its human-specific fine-tuning; see `DisCoFineTuned`."""

    kind: Literal["disco_ft"]
    guidance_scale: float
    num_steps: int
    iterations: int
    learning_rate: float
    batch_size: int
    min_rows: int

    def build(self) -> System:
        return DisCoFineTuned(
            name=self.name,
            num_frames=self.num_frames,
            guidance_scale=self.guidance_scale,
            num_steps=self.num_steps,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            min_rows=self.min_rows,
        )


@dataclass(frozen=True, kw_only=True)
class MagicAnimateSettings(SystemSettings):
    """MagicAnimate's public checkpoint; see `MagicAnimate`."""

    kind: Literal["magicanimate"]
    num_steps: int
    guidance_scale: float
    seed: int

    def build(self) -> System:
        return MagicAnimate(
            name=self.name,
            num_frames=self.num_frames,
            num_steps=self.num_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class Gen2Settings(SystemSettings):
    """Gen-2, a web service; see `Gen2`."""

    kind: Literal["gen2"]

    def build(self) -> System:
        return Gen2(name=self.name, num_frames=self.num_frames)


AnySystemSettings = Annotated[
    DisCoSettings | DisCoFineTunedSettings | MagicAnimateSettings | Gen2Settings, Field(discriminator="kind")
]


def system_kinds() -> tuple[type, ...]:
    """The settings of every system."""
    return get_args(get_args(AnySystemSettings)[0])
