"""What rows have in common, and what tells those of one method apart: settings as in a sweep's variants, else files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval.reporting.results import Result
from src.common.counting import counted
from src.common.nested import dotted
from src.runs.identity import idle_settings

# Settings in a label; what differs in more is not told by a list of them.
SHOWN = 4


def told_apart(results: Sequence[Result]) -> list[Result]:
    """The results, those of one label with what tells them apart (`Result.told`)."""
    groups: dict[str, list[int]] = {}
    for at, result in enumerate(results):
        groups.setdefault(result.label, []).append(at)
    told = list(results)
    for group in groups.values():
        if len(group) > 1:
            for at, name in zip(group, _names([results[at] for at in group]), strict=True):
                told[at] = replace(results[at], told=name)
    return told


def shared(results: Sequence[Result]) -> str:
    """What all rows have in common of what matters most, as `model=mini · 8 training frames · …`."""
    counts = {values["frames"] for result in results for values in result.clips.values()}
    told = [
        ("training frame", "", {result.num_frames for result in results}),
        ("fine-tune step", "", {_setting(result, "trainer", "max_steps") for result in results}),
        ("sampling step", "", {_setting(result, "sampling", "num_steps") for result in results}),
        ("subject", "", {len(result.clips) for result in results} if _same_subjects(results) else set()),
        ("test frame", " each", {int(count) for count in counts}),
    ]
    models = {result.model for result in results}
    texts = [f"model={model}" for model in models if len(models) == 1 and model is not None]
    numbers = [(what, more, *values) for what, more, values in told if len(values) == 1 and None not in values]
    return " · ".join([*texts, *(f"{counted(number, what)}{more}" for what, more, number in numbers)])


def _setting(result: Result, group: str, key: str) -> Any:
    of_group = result.settings.get(group)
    value = of_group.get(key) if isinstance(of_group, Mapping) else None
    return value if isinstance(value, int) else None


def _same_subjects(results: Sequence[Result]) -> bool:
    return len({frozenset(result.clips) for result in results}) == 1


def _names(group: Sequence[Result]) -> list[str]:
    by_settings = _by_settings([result.settings for result in group])
    ways = [
        by_settings,
        [result.path.parent.name for result in group],
        [result.path.stem for result in group],
        [f"{result.path.parent.name}/{result.path.stem}" for result in group],
    ]
    unique = (names for names in ways if len(set(names)) == len(group) and all(names))
    return next(unique, [str(result.path) for result in group])


def _by_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each, what it sets otherwise than another, as `num_steps=3, seed=1`; empty where that does not tell it."""
    if not all(settings):
        return ["" for _ in settings]
    flat = [dict(dotted(one)) for one in settings]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    # But for names, which say what the others of their group are.
    idle = {key for key in idle_settings() if not key.endswith(".name")}
    differing = [key for key in keys if key not in idle and len({json.dumps(one.get(key)) for one in flat}) > 1]
    # A group that has another name is told by it, not by all that comes with it.
    named = {key.removesuffix(".name") for key in differing if key.endswith(".name")}
    differing = [key for key in differing if key.endswith(".name") or key.partition(".")[0] not in named]
    if len(differing) > SHOWN:
        return ["" for _ in settings]
    shown = {key: _short(key, differing) for key in differing}
    return [", ".join(f"{shown[key]}={_text(one.get(key))}" for key in differing) for one in flat]


def _short(key: str, keys: Sequence[str]) -> str:
    """The last word of a key where no other ends in it; of a group's name the group."""
    key = key.removesuffix(".name")
    last = key.rpartition(".")[2]
    return last if sum(other.removesuffix(".name").rpartition(".")[2] == last for other in keys) == 1 else key


def _text(value: Any) -> str:
    """As the command line would have it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('"', "")
