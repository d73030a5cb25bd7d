"""Records that somebody made up are passed over, each part of them."""

from typing import Any

import pytest

from src.runs.records import is_fine_tune, is_of_training, is_summary

FINE_TUNE = {"steps": 3, "loss": 0.1, "seconds": 1.0, "seconds_per_step": None, "key": "a", "adapter_sha256": "b"}
SUMMARY = {
    "method": "posecrafter",
    "model": "tiny",
    "overrides": ["subject=x"],
    "training_frames": [0, 1],
    "training": FINE_TUNE,
    "sampling": {"seconds": 1.5, "reference_frame": 0, "peak_memory_gib": 0.1},
    "files": {"frames": "a"},
}


def test_ours_are_taken() -> None:
    assert is_summary(SUMMARY) and is_of_training(SUMMARY) and is_fine_tune(FINE_TUNE) and is_fine_tune({})
    repair = {key: value for key, value in SUMMARY.items() if key not in ("method", "model")}
    assert is_summary(repair | {"sampling": [SUMMARY["sampling"]]}) and not is_of_training(repair)
    sample = {"method": {"name": "posecrafter"}, "sampling": SUMMARY["sampling"], "files": None}
    assert is_summary(sample) and not is_of_training(sample)


@pytest.mark.parametrize("key", SUMMARY)
@pytest.mark.parametrize(
    "value", [1, True, "x", [None], [{}], {"seconds": "1"}, {"seconds": 1}, {"reference_frame": "0"}]
)
def test_another_kind_of_value_is_not(key: str, value: Any) -> None:
    fits = {
        **{"method": (str, dict), "model": (str,), "overrides": (), "training_frames": (), "files": (dict,)},
        **{"training": (), "sampling": ()},
    }
    taken = isinstance(value, fits[key]) or (key == "training" and value in ({"seconds": 1}, {"reference_frame": "0"}))
    assert is_summary(SUMMARY | {key: value}) == taken


@pytest.mark.parametrize("changes", [{"loss": "0"}, {"seconds": True}, {"key": 1}, {"adapter_sha256": ["b"]}])
def test_a_fine_tune_of_other_values_is_none(changes: dict[str, Any]) -> None:
    assert not is_fine_tune(FINE_TUNE | changes) and not is_fine_tune([FINE_TUNE])
