"""What rows are called, and which of them compare, on the command line."""

from pathlib import Path
from typing import Any

import pytest

from eval.report import main
from tests.eval.reporting.test_tables import TEN, write_result

SAMPLING = {"num_steps": 2, "frame_chunk": "auto", "guidance_scale": 1.0}


def report(call_main, tmp_path: Path, *options: str) -> tuple[list[str], str]:
    """First cells of the table's rows, and the whole of `tables.md`."""
    status, told = call_main(main, *options, "output=report", "num_videos=0")
    assert status == 0, told
    text = (tmp_path / "report/tables.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [row.split(" | ")[0].removeprefix("| ") for row in rows], text


def settings(seed: int = 0, **sampling: Any) -> dict[str, Any]:
    return {"model": {"name": "mini"}, "sampling": SAMPLING | sampling, "seed": seed, "fine_tune_cache": f"/{seed}"}


def test_a_method_without_a_name_is_called_like_its_file(tmp_path: Path, call_main) -> None:
    """Also one that is named from within its own folder, which has no name there."""
    write_result(tmp_path / "ours.json", benchmark=None, method=None, num_frames=None)
    assert report(call_main, tmp_path, "results=ours.json")[0] == ["ours"]
    write_result(tmp_path / "theirs.json", benchmark=None, method=None, num_frames=None)
    assert report(call_main, tmp_path, "results=[ours.json,theirs.json]")[0] == ["ours", "theirs"]


def test_how_several_results_are_given_is_told(tmp_path: Path, call_main) -> None:
    status, told = call_main(main, f"results={tmp_path}/a.json,{tmp_path}/b.json", "output=report")
    assert status == 2 and f"several are results=[{tmp_path}/a.json,{tmp_path}/b.json]" in told


@pytest.mark.parametrize("of", [("results=a.json", "rank_by=fvd"), ("sweep=none", "metrics=[fvd]")])
def test_a_file_in_place_of_the_folder_is_told_before_anything_else(tmp_path: Path, call_main, of) -> None:
    write_result(tmp_path / "a.json")
    (tmp_path / "there").touch()
    status, told = call_main(main, *of, "output=there")
    assert status == 2 and told.startswith("error: there cannot be written: a part of the path is a file"), told


def test_a_result_that_is_named_twice_is_one_row(tmp_path: Path, call_main) -> None:
    for name in "ab":
        write_result(tmp_path / f"in/{name}.json", benchmark="mine", method=name)
    (tmp_path / "in/folder.json").mkdir()
    (tmp_path / "again.json").symlink_to(tmp_path / "in/a.json")
    labels, _ = report(call_main, tmp_path, "results=[in,in/a.json,again.json]", "baseline=a (8)")
    assert labels == ["a", "b"]


@pytest.mark.parametrize(
    "beside",
    [{"interval": "wide"}, {"interval": [1]}, {"note": 3}, {"seen": "half"}, {"clips": [1]}, {"network": "I3D"}],
)
def test_what_stands_beside_a_value_is_checked(beside: dict[str, Any], tmp_path: Path, call_main) -> None:
    write_result(tmp_path / "a.json", metrics={"fvd": {"value": 500.0, "frames": 30} | beside}, missing={})
    status, told = call_main(main, "results=a.json", "output=report", "num_videos=0")
    assert status == 2 and f"a.json: metrics.fvd.{next(iter(beside))}" in told and len(told.splitlines()) == 1


def test_rows_of_one_method_are_told_apart_by_their_settings(tmp_path: Path, call_main) -> None:
    for number, made in enumerate((settings(num_steps=10), settings(num_steps=2, frame_chunk=8))):
        write_result(tmp_path / f"in/{number}/results.json", benchmark="mine", settings=made)
    named = ["posecrafter, num_steps=2", "posecrafter, num_steps=10"]
    assert report(call_main, tmp_path, "results=in")[0] == named, "what counts for nothing is not named"
    write_result(tmp_path / "in/2/results.json", benchmark="mine", settings=settings(1, num_steps=2))
    assert report(call_main, tmp_path, "results=in")[0] == [
        "posecrafter, num_steps=2, seed=0",
        "posecrafter, num_steps=2, seed=1",
        "posecrafter, num_steps=10, seed=0",
    ]
    _, text = report(call_main, tmp_path, "results=in", "baseline=posecrafter (8), num_steps=2, seed=1")
    assert "difference from posecrafter (8), num_steps=2, seed=1" in text


def test_notes_explain_what_is_shown_and_no_more(tmp_path: Path, call_main) -> None:
    """One row has no difference from itself; fewer than five subjects have no interval."""
    two = {clip: TEN[clip] | {"psnr": 20.0} for clip in ("tiktok_001", "tiktok_002")}
    metrics = {"ssim": {"value": 0.8, "frames": 200}}
    write_result(tmp_path / "in/a.json", benchmark="mine", method="a", metrics=metrics, clips=two)
    _, text = report(call_main, tmp_path, "results=in", "baseline=a (8)")
    assert not any(word in text for word in ("Parentheses", "Brackets", "p-value"))
    write_result(tmp_path / "in/b.json", benchmark="mine", method="b", metrics=metrics, clips=two)
    _, text = report(call_main, tmp_path, "results=in", "baseline=a (8)")
    assert "Parentheses: difference from a (8) over the same subjects." in text and "Brackets" not in text
    write_result(tmp_path / "in/a.json", benchmark="mine", method="a", metrics=metrics)
    write_result(tmp_path / "in/b.json", benchmark="mine", method="b", metrics=metrics)
    _, text = report(call_main, tmp_path, "results=in", "baseline=a (8)")
    assert "with its paired interval and the p-value" in text and "Brackets: 95 % interval" in text


@pytest.mark.parametrize("names", [("a/r.json", "b/r.json"), ("a/r.json", "a/s.json"), ("a/r.json", "b/s.json")])
def test_rows_without_settings_are_told_apart_by_their_files(names: tuple[str, str], tmp_path: Path, call_main) -> None:
    for name in names:
        write_result(tmp_path / "in" / name, benchmark="mine")
    labels, _ = report(call_main, tmp_path, "results=in")
    assert len(set(labels)) == 2 and all(label.startswith("posecrafter, ") for label in labels)


def test_all_rows_that_do_not_compare_are_told_with_their_frames(tmp_path: Path, call_main) -> None:
    """Two of them are like each other, and none is like the first."""
    for name, frames, real in (("a", 100, "0"), ("b", 6, "1"), ("c", 6, "1"), ("d", 4, "2")):
        clips = {clip: values | {"frames": frames} for clip, values in TEN.items()}
        inputs = {clip: {"frames": frames, "real_sha256": real * 64} for clip in TEN}
        write_result(tmp_path / f"in/{name}.json", benchmark="mine", method=name, clips=clips, inputs=inputs)
    labels, text = report(call_main, tmp_path, "results=in")
    assert labels == ["a", "b", "c", "d"]
    assert ": a (8) against b (8), c (8) against d (8). Values compare within a group" in text
    assert "Frames each" in text and "| a | 8 | 10 | 100 |" in text and "| d | 8 | 10 | 4 |" in text
    assert "Frames each" in (tmp_path / "report/tables.tex").read_text()
