"""Seeds of one subject are replicates of it, not subjects of their own."""

import json
from pathlib import Path

import pytest

from eval.benchmark.replicates import merge_seeds
from eval.reporting.results import load_results
from eval.reporting.tables import build_tables
from tests.eval.reporting.test_tables import write_result

VALUES = {"s1": 10.0, "s2": 20.0, "s3": 30.0, "s4": 40.0, "s5": 50.0}


def write(folder: Path, variant: str, shift: float, clips: dict[str, float] = VALUES) -> None:
    write_result(
        folder / f"{variant}.json",
        **{"benchmark": "mine", "variant": variant},
        metrics={"psnr": {"value": 30.0 + shift, "frames": 50}, "fvd": {"value": 9.0 + shift, "interval": [1, 20]}},
        missing={},
        clips={clip: {"frames": 10, "psnr": value + shift} for clip, value in clips.items()},
        weights={clip: {"psnr": 10.0} for clip in clips},
    )


def test_seeds_of_a_variant_are_one_row_and_subjects_stay_what_is_drawn(tmp_path: Path) -> None:
    for seed, shift in enumerate((-1.0, 0.0, 1.0)):
        write(tmp_path, f"noise, seed={seed}", shift)
        write(tmp_path, f"posecrafter, seed={seed}", 2 + 2 * shift)
    first, second = merge_seeds(load_results([tmp_path]))
    assert (first.variant, second.variant) == ("noise, 3 seeds", "posecrafter, 3 seeds")
    assert first.metrics["psnr"]["value"] == 30 and second.metrics["fvd"]["value"] == 11
    assert len(second.clips) == 5 and second.clips["s2"]["psnr"] == 22
    assert second.interval("fvd") is None, "an interval of one seed is none of their mean"
    difference = second.difference(first, "psnr")
    assert difference is not None and difference.value == pytest.approx(2) and difference.num_subjects == 5
    (table,) = build_tables([first, second], baseline=first.label)
    assert any("mean over seed=0, seed=1, seed=2" in note for note in table.notes)


def test_a_subject_without_a_value_in_one_seed_is_left_out_of_that_metric_and_said(tmp_path: Path) -> None:
    write(tmp_path, "noise, seed=0", 0)
    write(tmp_path, "noise, seed=1", 2)
    path = tmp_path / "noise, seed=1.json"
    lacking = json.loads(path.read_text())
    del lacking["clips"]["s4"]["psnr"], lacking["weights"]["s4"]["psnr"]
    path.write_text(json.dumps(lacking))
    (merged,) = merge_seeds(load_results([tmp_path]))
    assert merged.metrics["psnr"]["value"] == 31 and merged.clips["s1"]["psnr"] == 11
    assert merged.clips["s4"] == {"frames": 10} and merged.interval("psnr") is None, "of four subjects"
    assert "PSNR of s4 is in some of them alone" in merged.warnings[0]


def test_a_variant_with_one_seed_and_seeds_alone(tmp_path: Path) -> None:
    write(tmp_path / "one", "noise", 0)
    write(tmp_path / "one", "posecrafter", 1)
    assert [result.variant for result in merge_seeds(load_results([tmp_path / "one"]))] == ["noise", "posecrafter"]
    write(tmp_path / "alone", "seed=0", 0)
    write(tmp_path / "alone", "seed=1", 1)
    (only,) = merge_seeds(load_results([tmp_path / "alone"]))
    assert only.variant == "posecrafter, 2 seeds"
    write(tmp_path / "alone", "seed=2", 1, {"s1": 10.0})


def test_seeds_of_different_subjects_stay_apart_and_say_so(tmp_path: Path) -> None:
    """As of a sweep in which a job is not finished, whose report is of the others."""
    write(tmp_path, "noise, seed=0", 0)
    write(tmp_path, "noise, seed=1", 1, {"s1": 10.0})
    write(tmp_path, "posecrafter, seed=0", 2)
    write(tmp_path, "posecrafter, seed=1", 3)
    found = merge_seeds(load_results([tmp_path]))
    assert [result.variant for result in found] == ["noise, seed=0", "noise, seed=1", "posecrafter, 2 seeds"]
    (table,) = build_tables(found)
    assert any(
        "there is no mean over seed=0, seed=1, which are not of the same subjects" in note for note in table.notes
    )
