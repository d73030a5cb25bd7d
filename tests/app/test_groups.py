"""The files of each config group and the dataclass that they are parsed into name the same settings."""

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.benchmark.settings import ExternalMethod
from src.app.as_in_run import GROUPS as AS_IN_RUN
from src.app.as_in_run import _missing
from src.common.paths import CONF_DIR
from src.common.trainer import TrainerSettings
from src.common.typed import _hints, _member, _merged, _tags
from src.data.datasets.settings import DatasetSettings
from src.data.settings import DataSettings
from src.methods.settings import KINDS, AnyMethodSettings
from src.models.settings import ModelSettings
from src.pose.extractors.settings import ExtractorSettings
from src.pose.smooth import SmoothSettings
from src.sampling.settings import SamplingSettings
from src.training.settings import OptimizerSettings

GROUPS: dict[str, Any] = {
    "data": DataSettings,
    "dataset": DatasetSettings,
    "method": AnyMethodSettings | ExternalMethod,
    "model": ModelSettings,
    "optimizer": OptimizerSettings,
    "pose": ExtractorSettings,
    "sampling": SamplingSettings,
    "smooth": SmoothSettings,
    "trainer": TrainerSettings,
}


def values_of(file: Path) -> dict[str, Any]:
    """What a file sets in its group, with what its defaults from there set."""
    if file.stem == "as_in_run":
        return _missing(AS_IN_RUN[file.parent.name])
    own = yaml.safe_load(file.read_text())
    if file.read_text().startswith("# @package _global_"):
        return own[file.parent.name]
    values: dict[str, Any] = {}
    for name in own.pop("defaults", ["_self_"]):
        values = _merged(values, own if name == "_self_" else values_of(file.with_name(f"{name}.yaml")))
    return values


def compare(cls: Any, values: dict[str, Any], where: str) -> None:
    member = _member(cls, values)
    assert member is not None, f"{where}: no dataclass of the group has this kind"
    lacking, unknown = _hints(member).keys() - values, values.keys() - _hints(member)
    assert not lacking, f"{where} does not set {sorted(lacking)} of {member.__name__}"
    assert not unknown, f"{where} sets {sorted(unknown)}, which {member.__name__} does not have"
    for key, value in values.items():
        if isinstance(value, dict):
            compare(_hints(member)[key], value, f"{where}: {key}")


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_sets_each_field_of_its_dataclass_and_nothing_else(group: str) -> None:
    files = list((CONF_DIR / group).glob("*.yaml"))
    assert files
    for file in files:
        compare(GROUPS[group], values_of(file), f"{group}={file.stem}")


def test_each_kind_of_method_says_what_it_needs() -> None:
    kinds = {kind for cls in typing.get_args(typing.get_args(AnyMethodSettings)[0]) for kind in _tags(cls)["kind"]}
    assert kinds == set(KINDS), "a kind of AnyMethodSettings without its line in KINDS, or the other way round"
