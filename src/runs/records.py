"""What the records of a run must hold to be used: they may come from anyone, damaged or made up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.common.digests import sha256
from src.common.errors import UserError
from src.common.typed import is_number


def is_summary(value: Mapping[str, Any]) -> bool:
    """Whether a `summary.json` is one that a command of this version or of 0.1 wrote."""
    sampling = value.get("sampling")
    costs = sampling if isinstance(sampling, list) else [] if sampling is None else [sampling]
    return (
        all(map(_is_sampling_cost, costs))
        and is_fine_tune(value.get("training", {}))
        and isinstance(value.get("files", {}), dict | None)
        and isinstance(value.get("method", ""), (str, dict))
        and isinstance(value.get("model", ""), str)
        and _all(value.get("training_frames", []), int)
        and _all(value.get("overrides", []), str)
    )


def is_of_training(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is of `src.train`, with what it generated."""
    match summary:
        case {"training": {}, "sampling": {}, "method": str(), "model": str(), "training_frames": list()}:
            return True
    return False


def is_fine_tune(value: Any) -> bool:
    """Whether a `fine_tune.json` is one of ours."""
    if not isinstance(value, dict):
        return False
    numbers = ("loss", "seconds", "seconds_per_step", "peak_memory_gib", "steps")
    texts = ("key", "adapter_sha256")
    return all(value.get(name) is None or is_number(value[name]) for name in numbers) and all(
        value.get(name) is None or isinstance(value[name], str) for name in texts
    )


def is_adapter_of(record: Mapping[str, Any], adapter: Path) -> bool:
    """Whether a `fine_tune.json` is one of ours, and the file beside it the adapter that was written with it."""
    # Version 0.1 wrote no checksum.
    return is_fine_tune(record) and record.get("adapter_sha256") in (None, sha256(adapter))


def check_key(fine_tune: Mapping[str, Any], key: str, folder: Path) -> None:
    """Raise a UserError where the fine-tune of a run folder is of another key."""
    if fine_tune.get("key") not in (None, key):
        raise UserError(
            f"{folder} holds a fine-tune of other frames, poses, weights or another prompt of the subject under the "
            "same settings: choose another run_dir"
        )


def _is_sampling_cost(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("reference_frame"), int)
        and is_number(value.get("seconds"))
        and is_number(value.get("peak_memory_gib", 0))
    )


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
