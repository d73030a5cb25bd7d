"""Variants of a sweep that differ in their seed alone, as one: seeds are replicates, and subjects are what is drawn."""

import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from eval.metrics.registry import REGISTRY
from eval.reporting.intervals import over_replicates
from eval.reporting.results import Result

_REPLICATES = "which are replicates of one subject, whose video is of the first"
_SEED = re.compile(r"(?:^|, )(?:[a-z_.]+\.)?seed=[^,]+")


def merge_seeds(results: Sequence[Result]) -> list[Result]:
    """The results, those of one variant and several seeds merged, in the order of the first of each.

    A subject's value is its mean over the seeds (`over_replicates`), and so is what it weighs; one that a seed gives no
    value of, as of MSE-P where nobody is found, has none. A metric's value is its mean over the seeds. A metric that
    lacks in one of them lacks in the merged result; an interval that a seed gave, as of a Fréchet distance, is not one
    of their mean and is left out. Seeds of one variant that were run on different subjects stay apart, with a warning.
    """
    groups: dict[str | int, list[Result]] = {}
    for number, result in enumerate(results):
        named = result.variant is not None and _SEED.search(result.variant)
        groups.setdefault(_SEED.sub("", result.variant or "").removeprefix(", ") if named else number, []).append(
            result
        )
    found = []
    for variant, group in groups.items():
        if len(group) == 1:
            found += group
        elif any(result.clips.keys() != group[0].clips.keys() for result in group):
            apart = f"there is no mean over {_seeds(group)}, which are not of the same subjects"
            found += [replace(result, warnings=(apart, *result.warnings)) for result in group]
        else:
            found.append(_merged(group, str(variant) or f"{group[0].method}"))
    return found


def _seeds(group: list[Result]) -> str:
    return ", ".join(match[0].removeprefix(", ") for result in group if (match := _SEED.search(result.variant or "")))


def _merged(group: list[Result], variant: str) -> Result:
    first = group[0]
    names = [name for name in first.metrics if all(name in result.metrics for result in group)]
    lacking = {name: reason for result in group for name, reason in result.missing.items()}
    values = {name: _over_seeds(group, "clips", name) for name in ("frames", *names)}
    weights = {name: _over_seeds(group, "weights", name) for name in names}
    lost = {name: sorted(_in_any(group, name) - own.keys()) for name, own in values.items()}
    without = "".join(
        f"; {REGISTRY[name].title} of {', '.join(clips)} is in some of them alone, and in no interval or difference"
        for name, clips in lost.items()
        if clips
    )
    return replace(
        first,
        variant=f"{variant}, {len(group)} seeds",
        metrics={name: _entry([result.metrics[name] for result in group]) for name in names},
        missing=lacking,
        clips=_by_clip(values, first.clips),
        weights=_by_clip(weights, first.clips),
        found=_by_clip({name: _over_seeds(group, "found", name) for name in names}, first.clips),
        seconds={"sample": _mean([result.seconds.get("sample") for result in group])},
        warnings=(f"mean over {_seeds(group)}, {_REPLICATES}{without}", *first.warnings),
    )


def _over_seeds(group: list[Result], field: str, name: str) -> dict[str, float]:
    runs = [{clip: own[name] for clip, own in getattr(result, field).items() if name in own} for result in group]
    in_all = set.intersection(*(set(run) for run in runs))
    return over_replicates([{clip: run[clip] for clip in in_all} for run in runs])


def _in_any(group: list[Result], name: str) -> set[str]:
    return {clip for result in group for clip, own in result.clips.items() if name in own}


def _mean(numbers: list[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return fmean(known) if len(known) == len(numbers) else None


def _by_clip(values: dict[str, dict[str, float]], clips: Any) -> dict[str, dict[str, float]]:
    return {clip: {name: own[clip] for name, own in values.items() if clip in own} for clip in clips}


def _entry(entries: list[Any]) -> dict[str, Any]:
    shared = {key: value for key, value in entries[0].items() if key != "interval"}
    numbers = {key: fmean(entry[key] for entry in entries) for key in ("value", "seen") if key in shared}
    return shared | numbers
