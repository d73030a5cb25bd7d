"""What tells the jobs of a sweep apart, by name: their command lines, and their settings where these say more."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from src.common.nested import dotted
from src.common.typed import identity, plain
from src.runs.identity import idle_settings
from src.runs.settings import RunSettings

# Of the settings that decide, those that say who it is and which part of the video.
_PERSON = ("subject", "prompt", "data.start", "data.max_frames")
# What of a command line is no variant: the person, and what a job tells others.
_NO_VARIANT = re.compile(r"subject|(logger|hydra)([./].*)?")
# Choices that stand for many settings, which say better what differs: of most of them, where a job runs.
_BUNDLES = ("trainer", "experiment", "experiments")
_SHOWN = 4  # settings that a name may list


def variants_of(jobs: Sequence[tuple[RunSettings, Sequence[str]]]) -> list[str]:
    """What each job was given that others were not, of all that tells two settings apart.

    A sweep may have been given again with a setting more. One that all jobs have tells nothing, said or not; nor does
    one that counts for nothing, unless it is what was swept: jobs of a person are then told apart by nothing else.

    Args:
        jobs: settings, and what the command line said.
    """
    given = [_choices(overrides) for _, overrides in jobs]
    values = [plain(settings) for settings, _ in jobs]
    if any("seed" in own for own in given):
        # Who is told apart by seeds has one, said or not: else the mean over seeds would be without it.
        given = [{**own, "seed": f"seed={settings.seed}"} for own, (settings, _) in zip(given, jobs, strict=True)]
    said_by_all = set.intersection(*(set(own.values()) for own in given))
    alike = {key for own in given for key in own if _same(values, key)}
    # Of a run that is repeated the settings say all (below), of poses nothing: two extractors find other ones.
    idle = {*idle_settings(RunSettings), "repeat"} - {"pose"}

    def named(aside: Collection[str]) -> list[str]:
        kept = [[text for key, text in own.items() if key not in aside and text not in said_by_all] for own in given]
        return [_short(", ".join(texts)) for texts in kept]

    names = named({*alike, *idle, *_BUNDLES})
    names = _with_what_differs(names, given, [settings for settings, _ in jobs])
    pairs = {(name, settings.subject) for name, (settings, _) in zip(names, jobs, strict=True)}
    return names if len(pairs) == len(jobs) else named(alike)


def _with_what_differs(
    names: Sequence[str], given: Sequence[Mapping[str, str]], settings: Sequence[RunSettings]
) -> list[str]:
    """The names of jobs; those that stand for several settings, whoever it is of, with what differs.

    Looked for where the command lines do not say it: of runs that are repeated, and of other trainers or experiments.
    """
    found = [{key: _said(value) for key, value in dotted(identity(own, "sampling"))} for own in settings]
    told = list(names)
    for name in dict.fromkeys(names):
        alike = [number for number, other in enumerate(names) if other == name]
        bundles = [", ".join(given[number][key] for key in _BUNDLES if key in given[number]) for number in alike]
        if len(set(bundles)) == 1 and not any("repeat" in given[number] for number in alike):
            continue
        keys = dict.fromkeys(key for number in alike for key in found[number] if key not in _PERSON)
        differ = [key for key in keys if len({found[number].get(key) for number in alike}) > 1]
        short = len(differ) <= _SHOWN or len(set(bundles)) == 1
        for number, bundle in zip(alike, bundles, strict=True):
            texts = [_short(f"{key}={found[number][key]}") for key in differ if key in found[number]]
            told[number] = ", ".join(filter(None, (name, *(texts if short else [bundle]))))
    return told


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _choices(overrides: Sequence[str]) -> dict[str, str]:
    """By key, what the command line said of it, without what is no variant."""
    choices = {override.partition("=")[0].lstrip("+"): override.lstrip("+") for override in overrides}
    return {key: choice for key, choice in choices.items() if not _NO_VARIANT.fullmatch(key)}


def _same(values: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether all settings have one value under a dotted key; not of one that they do not have."""
    found: list[Any] = list(values)
    for part in key.split("."):
        if not all(isinstance(value, Mapping) and part in value for value in found):
            return False
        found = [value[part] for value in found]
    return all(value == found[0] for value in found)


def _short(variant: str) -> str:
    """Names as people say them: `method=selection` is `selection`, `data.num_frames=8` is `num_frames=8`."""
    parts = [part.removeprefix("method=") for part in variant.split(", ")] if variant else []
    return ", ".join(re.sub(r"^[a-z_.]+\.([a-z_]+=)", r"\1", part) for part in parts)
