"""The dimension suffixes of names, checked while the tests run: `latents_BChw` has four, and `B` is one size in a call.

Every function, method and dataclass of `src` and `eval` that takes a tensor or an array under a name with such a suffix
is wrapped; jaxtyping compares the shapes.
"""

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, jaxtyped
from torch import Tensor

_SUFFIX = re.compile(r"_([A-Za-z0-9]*[A-Z1][A-Za-z0-9]*)$")
_ARRAYS = ("Tensor", "ndarray")
_OURS = ("src.", "eval.")
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@contextmanager
def checked_dimensions() -> Iterator[int]:
    """Check the suffixes of all that is imported by now, within the context.

    Yields:
        How many functions are checked.
    """
    replaced: list[tuple[Any, str, Any]] = []
    wrapped: dict[int, Callable] = {}
    ours = [module for name, module in sorted(sys.modules.items()) if name.startswith(_OURS)]
    for module in ours:
        for owner in (module, *(value for value in vars(module).values() if _is_class_of(value, module))):
            for name, value in list(vars(owner).items()):
                function = value.__func__ if isinstance(value, staticmethod) else value
                if _is_function_of(function, module) and (dimensions := _dimensions(function)):
                    wrapped[id(function)] = _checked(function, dimensions)
                    if owner is not module:
                        new = wrapped[id(function)]
                        replaced.append((owner, name, value))
                        setattr(owner, name, staticmethod(new) if isinstance(value, staticmethod) else new)
    # Whoever imported a function by its name holds it as well.
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith((*_OURS, "tests.")):
            for name, value in list(vars(module).items()):
                if inspect.isfunction(value) and id(value) in wrapped:
                    replaced.append((module, name, value))
                    setattr(module, name, wrapped[id(value)])
    try:
        yield len(wrapped)
    finally:
        for owner, name, value in replaced:
            setattr(owner, name, value)


def _is_class_of(value: Any, module: types.ModuleType) -> bool:
    return inspect.isclass(value) and value.__module__ == module.__name__


def _is_function_of(value: Any, module: types.ModuleType) -> bool:
    # The `__init__` of a dataclass has no module of its own.
    return inspect.isfunction(value) and value.__globals__.get("__name__", module.__name__) == module.__name__


def _dimensions(function: Callable) -> dict[str, str]:
    """By parameter, its dimensions as jaxtyping writes them."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        suffix = _SUFFIX.search(name)
        if suffix and any(array in str(parameter.annotation) for array in _ARRAYS):
            # X stands for any number of axes.
            found[name] = " ".join(suffix[1]).replace("X", "*X")
    return found


def _checked(function: Callable, dimensions: dict[str, str]) -> Callable:
    parameters = inspect.signature(function).parameters
    places = {name: place for place, name in enumerate(parameters) if parameters[name].kind in _BY_PLACE}
    passed: set[tuple] = set()

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        # First, so that what refuses shapes by itself does so in its own words.
        result = function(*args, **kwargs)
        given = {n: args[places[n]] if places.get(n, len(args)) < len(args) else kwargs.get(n) for n in dimensions}
        shapes = {name: tuple(value.shape) for name, value in given.items() if isinstance(value, Tensor | np.ndarray)}
        # What is right is a matter of the shapes alone, and most calls are of those that an earlier one had.
        if (key := tuple(shapes.items())) not in passed:
            kinds = _kinds(tuple(dimensions.items()))
            with jaxtyped("context"):
                for name in shapes:
                    if not isinstance(given[name], kinds[name]):
                        raise AssertionError(f"{function.__module__}.{function.__qualname__}: {name} of {shapes}")
            passed.add(key)
        return result

    return wrapper


@functools.cache
def _kinds(dimensions: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Not of the wrapper's closure, which what compiles it has to understand."""
    return {name: (Shaped[Tensor, text], Shaped[np.ndarray, text]) for name, text in dimensions}
