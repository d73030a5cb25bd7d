"""A page shows the videos that a result scored, whatever files a result names."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from eval.report import main
from eval.reporting.results import load_results
from eval.reporting.scored_videos import scored_video
from eval.scoring.clips import ClipPaths
from eval.scoring.reading import read_clip
from eval.scoring.score import _input
from src.common.errors import UserError
from src.media.video import write_frames
from tests.eval.conftest import smooth_frames
from tests.eval.reporting.test_tables import PAPER, sums_of, write_result

ONE = {"a": {"frames": 4, "ssim": 0.5}}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    sides = {"real": tmp_path / "real", "generated": tmp_path / "generated"}
    for seed, folder in enumerate(sides.values()):
        write_frames(folder, smooth_frames(4, 32, seed=seed))
    return {side: str(folder) for side, folder in sides.items()}


def page_of(result: Path, call_main) -> str:
    status, told = call_main(main, f"results={result}", "output=out", "video_height=64")
    assert status == 0, told
    return (result.parent / "out/report.html").read_text()


def test_a_video_that_was_not_scored_is_not_shown(tmp_path: Path, files: dict[str, str], call_main) -> None:
    """A result of somebody else's names a file of the reader's, to be embedded in a page that is passed on."""
    write_frames(tmp_path / "private", smooth_frames(4, 32, seed=9))
    inputs, private = {"a": sums_of(files)}, str(tmp_path / "private")
    for sums, why in ((inputs, "its frames are not those that"), ({}, "does not say which frames it scored")):
        named = {"a": {"real": private, "generated": private}}
        write_result(tmp_path / "r.json", benchmark="mine", clips=ONE, files=named, inputs=sums)
        text = page_of(tmp_path / "r.json", call_main)
        assert "data:video" not in text and "data:image" not in text
        assert text.count("private is not shown") == 2 and text.count(why) == 2
    write_result(tmp_path / "r.json", benchmark="mine", clips=ONE, files={"a": files}, inputs=inputs)
    assert page_of(tmp_path / "r.json", call_main).count("data:video") == 1


def test_what_nothing_was_said_of_is_not_opened(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", clips=ONE, files={"a": {"real": None, "generated": "/nowhere"}}, inputs={})
    with pytest.raises(UserError, match="/nowhere is not shown: the result does not say"):
        scored_video(load_results([tmp_path])[0], "a", "generated")


def write_scored(path: Path, clip: ClipPaths, **how: object) -> None:
    read = read_clip(clip, **{key: how.get(key) for key in ("resolution", "resize", "to_real")})  # type: ignore[arg-type]
    protocol = PAPER | {key: how[key] for key in ("resolution", "resize") if key in how}
    files = {"a": {"real": str(clip.real), "generated": str(clip.generated)}}
    setup = {"resize": how.get("to_real")}
    write_result(path, protocol=protocol, clips=ONE, files=files, inputs={"a": _input(read)}, setup=setup)


@pytest.mark.parametrize("how", [{"resolution": 24, "resize": "bicubic"}, {"to_real": "lanczos"}])
def test_what_was_resized_for_scoring_is_shown_as_it_is(tmp_path: Path, files: dict[str, str], how: dict) -> None:
    size = 48 if "to_real" in how else 32
    write_frames(files["generated"], smooth_frames(4, size, seed=5))
    write_scored(tmp_path / "r.json", ClipPaths("a", Path(files["generated"]), Path(files["real"]), None), **how)
    (result,) = load_results([tmp_path / "r.json"])
    real = scored_video(result, "a", "real").frames
    assert scored_video(result, "a", "generated", real).frames.shape == (4, size, size, 3)
    write_frames(files["generated"], smooth_frames(4, size, seed=6))
    with pytest.raises(UserError, match="are not those that the result scored"):
        scored_video(result, "a", "generated", real)
    # A size that nobody scored at is told before memory is taken for it.
    changed = json.loads((tmp_path / "r.json").read_text())
    changed["protocol"] |= {"resolution": 10**6, "resize": "bicubic"}
    (tmp_path / "r.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="more than the"):
        scored_video(load_results([tmp_path / "r.json"])[0], "a", "generated", real)


def test_pictures_of_16_bits_are_shown_as_they_were_scored(tmp_path: Path, files: dict[str, str]) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (4, 32, 32, 3), dtype=np.uint16)
    for number, frame in enumerate(noise):
        cv2.imwrite(str(Path(files["generated"]) / f"{number:05d}.png"), frame)
    clip = ClipPaths("a", Path(files["generated"]), Path(files["real"]), None)
    write_scored(tmp_path / "r.json", clip)
    shown = scored_video(load_results([tmp_path / "r.json"])[0], "a", "generated")
    assert np.array_equal(shown.frames, read_clip(clip).generated)
