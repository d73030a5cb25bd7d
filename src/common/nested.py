"""Nested plain values and the dotted names of what they hold."""

from collections.abc import Iterator, Mapping
from typing import Any


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Dotted key and both values of the first difference of two nested mappings; None where they are equal."""
    for key in {**one, **other}:
        mine, theirs = one.get(key), other.get(key)
        if mine == theirs:
            continue
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping) and (found := first_difference(mine, theirs)):
            return f"{key}.{found[0]}", *found[1:]
        return key, mine, theirs
    return None


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested plain values by dotted name."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
