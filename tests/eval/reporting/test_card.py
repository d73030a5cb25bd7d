"""The results card says of a result all that a reader must know, on one page."""

import json
import shutil
from pathlib import Path

from eval.report import main
from eval.reporting.card import card, write_cards
from eval.reporting.results import load_results
from src.common.digests import sha256
from tests.eval.reporting.test_tables import TEN, write_result


def test_a_card_says_what_was_measured_how_well_and_how_to_repeat_it(tmp_path: Path) -> None:
    write_result(
        tmp_path / "a" / "results.json",
        metrics={
            "ssim": {"value": 0.8, "frames": 1000},
            "mse-p": {"value": 5e-4, "frames": 1000, "seen": 0.97, "network": {"name": "dwpose", "fingerprint": "ab"}},
            "fvd": {"value": 500.0, "frames": 1000, "clips": 63, "note": "63 clips for 400 features"},
        },
        dataset={"expected": 12, "failed": {"tiktok_011": "no face"}},
        setup={
            "frames": ["256x256"],
            "resize": "bicubic",
            "driven_by": "DensePose",
            "stand_in": "toy weights",
        },
        warnings=["a.mp4 is coded with h264, which loses detail", *(f"w{number}" for number in range(20))],
        hardware="NVIDIA A100",
        command="posecrafter run benchmark=tiktok 'label=a b'",
        git={"commit": "0123abcd", "modified": False},
    )
    (result,) = load_results([tmp_path])
    text = card(result, label="posecrafter")
    low, high = result.interval("ssim") or (0, 0)
    for said in (
        "10 subjects of 12, 1000 frames of 512x512",
        f"| SSIM ↑ | 0.800 | [{low:.3f}, {high:.3f}] | 1000 frames |",
        "1000 frames, 63 windows",
        "97% of the keypoints found | dwpose ab |",
        "NVIDIA A100",
        "posecrafter run benchmark=tiktok 'label=a b'",
        "0123abcd",
        "FID is missing: no network",
        "63 clips for 400 features",
        "tiktok_011 failed: no face",
        "- toy weights: a stand-in, which reproduces no published number.",
        "- driven by DensePose, frames of 256x256, brought to 512x512 (bicubic).",
        "which loses detail",
        "and 13 warnings more",
        "@inproceedings{",
    ):
        assert said in text, said
    assert len(text.splitlines()) < 60, "one page"
    (path,) = write_cards([result], ["posecrafter"], tmp_path / "cards")
    assert path.read_text() == text and path.name == "01_posecrafter-8.md"


def test_a_subject_that_failed_is_said_where_nothing_else_is(tmp_path: Path) -> None:
    failed = {"expected": 10, "failed": {"tiktok_011": "no face"}}
    write_result(tmp_path / "r.json", metrics={"ssim": {"value": 0.8, "frames": 30}}, missing={}, dataset=failed)
    (result,) = load_results([tmp_path])
    assert "## To be known\n\n- tiktok_011 failed: no face.\n" in card(result, label="ours")


def test_code_that_is_in_no_commit_is_said_to_be(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", git={"commit": "0123abcd", "modified": True})
    (result,) = load_results([tmp_path])
    assert "| Code | 0123abcd, with changes that are in no commit |" in card(result, label="ours")


def test_a_report_that_is_made_again_has_no_card_of_the_one_before(tmp_path: Path, call_main) -> None:
    for name in "ab":
        write_result(tmp_path / f"in/{name}.json", method=name)
    assert call_main(main, "results=in", "output=report", "num_videos=0")[0] == 0
    (cards,) = (tmp_path / "report/cards").iterdir()
    (cards / "mine.md").touch()
    (tmp_path / "in/a.json").unlink()
    assert call_main(main, "results=in", "output=report", "num_videos=0")[0] == 0
    assert sorted(path.name for path in cards.iterdir()) == ["01_b-8.md", "mine.md"]
    # Nor of another table, whose folder has another name.
    write_result(tmp_path / "in/b.json", method="b", benchmark="other")
    assert call_main(main, "results=in", "output=report", "num_videos=0")[0] == 0
    assert sorted(path.name for path in cards.iterdir()) == ["mine.md"]
    (cards / "mine.md").unlink()
    write_result(tmp_path / "in/b.json", method="b")
    assert call_main(main, "results=in", "output=report", "num_videos=0")[0] == 0
    assert [path.name for path in (tmp_path / "report/cards").iterdir()] == [cards.name]


def test_a_report_removes_no_file_that_it_did_not_write(tmp_path: Path, call_main) -> None:
    """Named like a card in a folder of the user or of a table, a kept copy, a card with remarks."""
    for name in "abc":
        write_result(tmp_path / f"in/{name}.json", method=name)
    (tmp_path / "cards/game").mkdir(parents=True)
    (tmp_path / "cards/game/01_knight.md").write_text("mine")
    assert call_main(main, "results=in", "output=.", "num_videos=0")[0] == 0
    (cards,) = (path for path in (tmp_path / "cards").iterdir() if path.name != "game")
    shutil.copytree(cards, tmp_path / "cards/kept")
    (cards / "09_mine.md").write_text("mine")
    (cards / "03_c-8.md").write_text("with remarks")
    (tmp_path / "in/b.json").unlink()
    (tmp_path / "in/c.json").unlink()
    assert call_main(main, "results=in", "output=.", "num_videos=0")[0] == 0
    there = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in (tmp_path / "cards").iterdir()}
    assert there == {
        "game": ["01_knight.md"],
        "kept": ["01_a-8.md", "02_b-8.md", "03_c-8.md"],
        cards.name: ["01_a-8.md", "03_c-8.md", "09_mine.md"],
    }
    assert (tmp_path / "cards/game/01_knight.md").read_text() == "mine"
    # A record from anyone names other files, too.
    (tmp_path / "01_mine.md").write_text("mine")
    names = ["01_mine.md", "cards/../01_mine.md", "in/a.json"]
    (tmp_path / ".cards.json").write_text(json.dumps({name: sha256(tmp_path / name) for name in names}))
    assert call_main(main, "results=in", "output=.", "num_videos=0")[0] == 0
    assert (tmp_path / "01_mine.md").is_file() and (tmp_path / "in/a.json").is_file()


def test_a_report_folder_that_is_a_link_can_be_named(tmp_path: Path, call_main) -> None:
    write_result(tmp_path / "in/a.json")
    (tmp_path / "disk").mkdir()
    (tmp_path / "in/report").symlink_to(tmp_path / "disk")
    status, told = call_main(main, "results=in", "num_videos=0")
    assert status == 2 and "in/report is a link, which is not followed: remove it, or say output=<folder>" in told
    assert not any((tmp_path / "disk").iterdir())
    assert call_main(main, "results=in", "output=in/report", "num_videos=0")[0] == 0
    assert (tmp_path / "disk/report.html").is_file()


def test_what_others_wrote_cannot_break_the_card(tmp_path: Path) -> None:
    hostile = {"method": "a | b\n# <script>", "command": "x\n```\r<b>", "sizes": ["1x1 |\n# <b>"]}
    write_result(tmp_path / "r.json", clips=TEN, **hostile)
    (result,) = load_results([tmp_path])
    text = card(result, label=result.label)
    assert "<script>" not in text and text.splitlines()[0].startswith("# a \\| b # &lt;script&gt;")
    assert text.count("```") == 4 and "\r" not in text and "1x1 \\| # &lt;b&gt; |" in text
