"""The command that a result says runs as it is printed, and holds no quotes that nobody typed."""

import json
import shlex
from pathlib import Path

import pytest

from eval.report import main as report
from eval.score import main as score
from src.media.video import write_frames
from tests.eval.conftest import smooth_frames


@pytest.mark.parametrize("name", ["plain", "a b", "a,b", "[a]", "it's $HOME", "a\\", "(1) = {x}"])
def test_the_recorded_command_runs_as_printed(name: str, tmp_path: Path, call_main) -> None:
    write_frames(tmp_path / name, smooth_frames(2, 32, seed=0))
    given = [f"generated={name}", f"real={name}", f"table.method=ours, {name}", "metrics=[ssim,psnr]", "output=r.json"]
    status, told = call_main(score, *given, "device=cpu")
    assert status == 0, told
    first = json.loads((tmp_path / "r.json").read_text())
    words = shlex.split(first["command"])
    assert words == ["posecrafter", "score", *given, "device=cpu"], "what the shell passed on"
    (tmp_path / "r.json").unlink()
    assert call_main(score, *words[2:])[0] == 0
    assert json.loads((tmp_path / "r.json").read_text()) == first


def test_only_what_needs_it_is_quoted_in_a_card(tmp_path: Path, call_main) -> None:
    write_frames(tmp_path / "a", smooth_frames(2, 32, seed=0))
    assert call_main(score, "a", "a", "metrics=[psnr]", "output=r.json")[0] == 0
    assert call_main(report, "results=r.json", "output=page", "num_videos=0")[0] == 0
    (card,) = (tmp_path / "page").rglob("cards/*/*.md")
    assert "posecrafter score generated=a real=a 'metrics=[psnr]' output=r.json\n" in card.read_text()
