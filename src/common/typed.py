"""From Hydra's configs to typed, checked settings, before any weight is loaded."""

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from src.common.errors import UserError

T = TypeVar("T")


def typed(cls: type[T], node: DictConfig | dict, where: str) -> T:
    """Build the dataclass `cls` from a config node of exactly its fields.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type, or one that `cls` refuses; names the key.
    """
    values: Any = OmegaConf.to_container(OmegaConf.create(node), resolve=True)
    _refuse_unknown(cls, values, where)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, UserError):
            raise cause from error
        key = ".".join([where, *map(str, first["loc"])])
        known = ", ".join(field.name for field in fields(cls))
        raise UserError(f"{key}={first['input']}: {first['msg']} ({where} has {known})") from error


def _refuse_unknown(cls: type, values: dict, where: str) -> None:
    known = {field.name: field.type for field in fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{where}.{key} is unknown: {where} has {', '.join(known)}")
        if is_dataclass(known[key]) and isinstance(value, dict):
            _refuse_unknown(known[key], value, f"{where}.{key}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a UserError where `value` is none of `choices`."""
    if value not in choices:
        raise UserError(f"{name}={value} is unknown: choose one of {', '.join(choices)}")
