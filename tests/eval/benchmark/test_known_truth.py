"""Damage of known size to rendered people, and what metrics say of it."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from eval.benchmark.known_truth import DAMAGES, LEVELS, as_markdown, rendered
from eval.known_truth import main
from eval.scoring.score import score


def test_every_damage_grows_with_its_level_and_starts_at_nothing() -> None:
    truth = rendered("people_001", count=6, size=64)
    for name, apply in DAMAGES.items():
        frames, amounts = zip(*(apply(truth, level) for level in range(LEVELS)), strict=True)
        np.testing.assert_array_equal(frames[0], truth.real(), err_msg=name)
        assert amounts[0] == 0 and list(amounts) == sorted(set(amounts)), name
        assert all((later != truth.real()).any() for later in frames[1:]), name


def test_the_command_says_what_metrics_see_of_each_damage_over_all_subjects(call_main) -> None:
    metrics = "metrics=[ssim,flicker,warping-error]"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        _, told = call_main(main, "subjects=[people_001,people_009]", "num_frames=2", "resolution=64", metrics)
    assert told.count("warping-error is missing") == 1
    head, _, *lines, _, said = printed.getvalue().splitlines()
    assert said == "2 rendered people, the first 2 frames of each, 64 pixels, poses by `pose=mini`."
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["", *DAMAGES]
    rows = {
        name.strip(): dict(zip(DAMAGES, cells, strict=True))
        for name, *cells in (line.strip("|").split("|") for line in lines)
    }
    assert set(rows) == {"SSIM", "Flickering"}, "RAFT is not at hand"
    assert rows["SSIM"]["blur"].strip() == rows["SSIM"]["noise"].strip() == "+1.00"
    assert float(rows["SSIM"]["wrong pose"].split()[0]) > 0.8
    assert rows["Flickering"]["blur"].strip() == "-1.00", "it rewards blur"


def test_what_has_no_value_of_one_damage_has_those_of_the_others(call_main, monkeypatch) -> None:
    def without_ssim_of_noise(clips, *given, **options):
        found = score(clips, *given, **options)
        lost = {"ssim"} if clips[0].name == "noise" else set()
        return replace(found, metrics={name: entry for name, entry in found.metrics.items() if name not in lost})

    monkeypatch.setattr("eval.benchmark.known_truth.score", without_ssim_of_noise)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        call_main(main, "subjects=[people_001]", "num_frames=2", "resolution=64", "metrics=[ssim,l1]")
    (row,) = (line for line in printed.getvalue().splitlines() if line.startswith("| SSIM"))
    assert [
        damage for damage, cell in zip(DAMAGES, row.strip("|").split("|")[1:], strict=True) if cell.strip() == "-"
    ] == ["noise"]


def test_what_has_no_value_of_the_first_clip_has_those_of_the_others(call_main, monkeypatch) -> None:
    asked = []

    def without_ssim_at_first(clips, *given, **options):
        asked.append(given[0].metrics)
        found = score(clips, *given, **options)
        lost = {"ssim"} if len(asked) == 1 else set()
        return replace(found, metrics={name: entry for name, entry in found.metrics.items() if name not in lost})

    monkeypatch.setattr("eval.benchmark.known_truth.score", without_ssim_at_first)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        call_main(main, "subjects=[people_001]", "num_frames=2", "resolution=64", "metrics=[ssim,warping-error]")
    assert set(asked) == {("ssim",)}, "RAFT is not at hand"
    (row,) = (line for line in printed.getvalue().splitlines() if line.startswith("| SSIM"))
    cells = dict(zip(DAMAGES, row.strip("|").split("|")[1:], strict=True))
    assert [damage for damage, cell in cells.items() if cell.strip() == "-"] == [next(iter(DAMAGES))]


def test_a_cell_says_how_far_subjects_lie_apart_and_what_not_all_have_is_left_out() -> None:
    table = {"ssim": {"blur": [1.0, 0.9], "noise": [1.0, 1.0]}}
    assert as_markdown(table).splitlines()[2] == "| SSIM | +0.95 (+0.90 to +1.00) | +1.00 | - | - | - | - |"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("subjects=[people_013]", "people_001"),
        ("subjects=[people_001,people_001]", "each once"),
        ("subjects=[]", "at least one"),
        ("num_frames=1", "must be at least 2"),
        ("metrics=[warping-error]", "none of metrics= has its network"),
    ],
)
def test_subjects_that_are_none_are_one_line(given, said, call_main) -> None:
    status, told = call_main(main, given)
    assert status == 2 and len(told.splitlines()) == 1 + told.count(" is missing: ") and said in told
