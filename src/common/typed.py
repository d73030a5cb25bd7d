"""From a config node or plain data to typed, checked settings; and which of them decide what.

Settings are frozen dataclasses. A field says by `setting(counts=…)` where it counts; what it does not say it takes
from the field that holds its dataclass, and at the top it counts for the fine-tune, the careful choice.
"""

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import MISSING as NOT_GIVEN
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from src.common.errors import UserError
from src.common.raw import FileName as FileName
from src.common.raw import FilePath as FilePath
from src.common.raw import Raw as Raw
from src.common.raw import RawMark

T = TypeVar("T")
Counts = Literal["fine_tune", "sampling", "nothing"]
_UNIONS = (typing.Union, types.UnionType)
# What a video depends on is all that its fine-tune depends on, and more.
SCOPES = {"fine_tune": frozenset({"fine_tune"}), "sampling": frozenset({"fine_tune", "sampling"})}


def setting(
    default: Any = MISSING, *, counts: Counts | None = None, default_factory: Callable[[], Any] | Any = MISSING
) -> Any:
    """A field of settings.

    Args:
        default, default_factory: as of `dataclasses.field`.
        counts: what another value changes: the `fine_tune` (and so the video), the `sampling` alone, or `nothing`;
            None: as of the field that holds its dataclass.
    """
    metadata = {} if counts is None else {"counts": counts}
    return dataclasses.field(default=default, default_factory=default_factory, metadata=metadata)


def typed(cls: type[T], node: DictConfig | Mapping[str, Any], where: str = "") -> T:
    """Build the settings `cls`, a dataclass or a union of such, from a config node of exactly its fields.

    Plain data are taken as they are: nothing in them is resolved. What a config node leaves missing (`???`) within a
    group has the default of its field.

    Args:
        where: dotted key of the node in messages; empty at the top.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type, or one that `cls` refuses; names the key.
    """
    values: Any = given(node)
    _check_keys(cls, values, where)
    try:
        _check_finite(values, where)
        # In JSON's strict mode 1 is a float and a list a tuple, but true no number and 8 no text.
        return _adapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise _told(error, values, where) from error
    except RecursionError:
        raise UserError(f"{where or 'the settings'}: nested too deeply") from None


def given(node: Any) -> Any:
    """The values of a config node, resolved, without those that it leaves missing; what is no node is as it is."""
    return _present(OmegaConf.to_container(node, resolve=True)) if OmegaConf.is_config(node) else node


def plain(settings: Any) -> Any:
    """Settings as JSON values; `typed` reads them back."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def changed(settings: T, changes: Mapping[str, Any], where: str = "") -> T:
    """The settings with some values changed, nested as they are, and checked anew.

    Raises:
        UserError: as `typed`.
    """
    return typed(type(settings), _merged(plain(settings), changes), where)


def identity(settings: Any, scope: str) -> dict[str, Any]:
    """The values that decide about a fine-tune or about a video, nested as the settings are.

    Args:
        scope: `fine_tune` or `sampling`.
    """
    return _counting(settings, SCOPES[scope], "fine_tune")


def raw_keys(cls: type) -> Iterator[tuple[str, bool]]:
    """Dotted names of the fields whose values the command line must not parse (`Raw`), and which are names of files."""
    for key, kind in _all_fields(cls):
        for part in _parts(kind):
            for mark in getattr(part, "__metadata__", ()):
                if isinstance(mark, RawMark):
                    yield key, mark.is_name


def dotted_keys(cls: type) -> Iterator[str]:
    """Dotted names of all settings of a dataclass, groups included."""
    return (key for key, _ in _all_fields(cls))


def kinds_of(cls: type, name: str) -> set[str]:
    """What `kind` may be of a field that is a dataclass, or a union of such."""
    return {kind for member in _parts(_hints(cls)[name]) for kind in _tags(member).get("kind", ())}


def is_number(value: Any) -> bool:
    """Whether a plain value is a finite number, which true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a UserError where `value` is none of `choices`."""
    if value not in choices:
        raise UserError(f"{name}={value} is unknown: choose one of {', '.join(choices)}")


def check_range(
    name: str, value: float | None, *, least: float | None = None, above: float | None = None, most: float | None = None
) -> None:
    """Raise a UserError where a number is not finite or outside its range; None is not looked at."""
    if value is None:
        return
    bounds = []
    bounds += [f"at least {least:.10g}"] if least is not None else []
    bounds += [f"above {above:.10g}"] if above is not None else []
    bounds += [f"at most {most:.10g}"] if most is not None else []
    inside = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
    )
    if not inside:
        raise UserError(f"{name}={value} must be {' and '.join(bounds) or 'finite'}")


def _present(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: _present(value) for key, value in values.items() if value != NOT_GIVEN}


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        nested = isinstance(change, Mapping) and isinstance(values.get(key), Mapping)
        merged[key] = _merged(values[key], change) if nested else change
    return merged


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """The checks of a class, which cost more to build than to apply."""
    return TypeAdapter(cls)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _all_fields(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and types of the fields of a dataclass and of those that it holds."""
    for name, kind in _hints(cls).items():
        yield _join(prefix, name), kind
        for part in _parts(kind):
            if isinstance(part, type) and is_dataclass(part):
                yield from _all_fields(part, _join(prefix, name))


def _counting(settings: Any, scope: frozenset[str], inherited: str) -> dict[str, Any]:
    kept = {}
    for field in fields(settings):
        counts, value = field.metadata.get("counts", inherited), getattr(settings, field.name)
        if is_dataclass(value):
            if inner := _counting(value, scope, counts):
                kept[field.name] = inner
        elif counts in scope:
            kept[field.name] = json.loads(json.dumps(value, default=_json_value))
    return kept


def _json_value(value: Any) -> Any:
    return dataclasses.asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _check_keys(cls: Any, values: Any, where: str) -> None:
    """Refuse keys that no field has, before the types are looked at."""
    cls = _member(cls, values)
    if cls is None or not isinstance(values, Mapping):
        return
    known = _hints(cls)
    for name, (tag,) in _tags(cls).items():
        if values.get(name, tag) != tag:
            # Of another kind: its other keys are none of this one's.
            raise UserError(f"{_join(where, name)}={_shown(values[name])} is unknown: choose {tag!r}")
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            there = f"did you mean {_join(where, close[0])}?" if close else f"there are {', '.join(known)}"
            raise UserError(f"{_join(where, str(key))} is unknown: {there}")
        _check_keys(known[key], value, _join(where, key))


def _check_finite(values: Any, where: str) -> None:
    """Refuse infinity and NaN, which no setting means and no JSON file can hold."""
    if isinstance(values, Mapping | list | tuple):
        for key, value in values.items() if isinstance(values, Mapping) else (("", value) for value in values):
            _check_finite(value, _join(where, str(key)))
    elif isinstance(values, float) and not math.isfinite(values):
        raise UserError(f"{where}={values} must be a finite number")


def _member(kind: Any, values: Any) -> type | None:
    """The dataclass that a value of this type is of; of a union the one whose literal fields fit it."""
    members = [part for part in _parts(kind) if isinstance(part, type) and is_dataclass(part)]
    if len(members) < 2 or not isinstance(values, Mapping):
        return members[0] if members else None
    for member in members:
        if all(values.get(name) in choices for name, choices in _tags(member).items()):
            return member
    return None


@functools.cache
def _tags(cls: type) -> dict[str, tuple[Any, ...]]:
    """The fields that can have one value alone, and that value: what tells the members of a union apart."""
    return {
        name: typing.get_args(hint)
        for name, hint in _hints(cls).items()
        if typing.get_origin(hint) is Literal and len(typing.get_args(hint)) == 1
    }


def _parts(kind: Any) -> list[Any]:
    """A type, or the members of a union, annotations of the whole taken off."""
    if typing.get_origin(kind) in _UNIONS:
        return [part for argument in typing.get_args(kind) for part in _parts(argument)]
    if typing.get_origin(kind) is Annotated and typing.get_origin(typing.get_args(kind)[0]) in _UNIONS:
        return _parts(typing.get_args(kind)[0])
    return [kind]


def _told(error: ValidationError, values: Any, where: str) -> UserError:
    """The first of pydantic's complaints as one line with the dotted key."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UserError):
        return cause
    keys: list[str] = []
    node: Any = values
    for part in first["loc"]:
        # Names of a union's members stand between the keys.
        inside = dict[int | str, Any](enumerate(node)) if isinstance(node, list) else node
        if isinstance(inside, Mapping) and part in inside:
            keys.append(str(part))
            node = inside[part]
    if first["type"] == "missing":
        return UserError(f"{_join(where, *keys, str(first['loc'][-1]))} is missing")
    if first["type"] == "union_tag_invalid":
        tag = first.get("ctx", {})
        keys.append(tag["discriminator"].strip("'"))
        return UserError(f"{_join(where, *keys)}={tag['tag']} is unknown: choose one of {tag['expected_tags']}")
    if first["type"] == "union_tag_not_found":
        return UserError(f"{_join(where, *keys, first.get('ctx', {})['discriminator'].strip(chr(39)))} is missing")
    if first["type"] == "literal_error":
        return UserError(f"{_join(where, *keys)}={_shown(node)} is unknown: choose {first.get('ctx', {})['expected']}")
    if cause is not None:
        return UserError(f"{_join(where, *keys)}={_shown(node)}: {cause}")
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    return UserError(f"{_join(where, *keys)}={_shown('a group' if isinstance(node, Mapping) else node)}: {message}")


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
