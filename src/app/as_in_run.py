"""Groups of settings of which some are given and the others left as they are in a run.

Each field is missing until it is given, so that `null` is a value like any other. Hydra offers the groups as
`method=as_in_run` and so on, made from the dataclasses; files of `conf/` that set some fields of a group stand on it.
"""

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from src.common.trainer import TrainerSettings
from src.sampling.settings import MethodSettings, SamplingSettings

GROUPS = {"method": MethodSettings, "sampling": SamplingSettings, "trainer": TrainerSettings}


def offer_groups() -> None:
    """Make `as_in_run` a choice of each group."""
    for group, cls in GROUPS.items():
        ConfigStore.instance().store(group=group, name="as_in_run", node=_missing(cls))


def _missing(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {
        field.name: _missing(hints[field.name]) if is_dataclass(hints[field.name]) else MISSING for field in fields(cls)
    }
