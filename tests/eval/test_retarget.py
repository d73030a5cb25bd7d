"""The measurement of retargeting: its truth is the renderer's, its figures are recomputed, and it is done once."""

import shutil

import numpy as np
import pytest

from eval.benchmark.retarget import TRUE_POSES, measure
from eval.benchmark.retarget_settings import RetargetSettings
from src.app.entry import settings_of
from src.common.errors import UserError
from src.common.reading import read_json
from src.media.video import read_video
from src.people.identity import sample_identity
from src.people.motion import sample_motion
from src.people.render import render_motion

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_frames=4")


@pytest.fixture
def config(compose_config, tmp_path):
    def make(*overrides):
        cfg = compose_config("retarget", *FAST, "frames=3", "pairs=[[people_007,people_008]]", *overrides)
        cfg.output = str(tmp_path / "out")
        return settings_of(RetargetSettings, cfg)

    return make


def test_figures_are_those_of_the_generated_against_the_rendered_truth(config, tmp_path, monkeypatch):
    summary = measure(config())
    figures = summary["pairs"]["people_007 as people_008"]
    assert figures == summary["mean"] and list(figures) == ["none", "scale", "bones", TRUE_POSES]
    errors = {mode: figures[mode]["keypoint_error"] for mode in figures}
    assert errors[TRUE_POSES] == 0 < errors["bones"] < min(errors["none"], errors["scale"])
    truth, _ = render_motion(sample_identity(7), sample_motion("dance", 3, 8), 64)
    (folder,) = (tmp_path / "out/generated").glob("people_007_people_008_bones_*")
    generated = read_video(folder / "frames").frames
    squares = np.square(generated.astype(float) - truth).mean((1, 2, 3))
    assert figures["bones"]["psnr"] == pytest.approx((10 * np.log10(255**2 / squares)).mean())
    assert read_json(tmp_path / "out/results.json") == summary
    assert len((tmp_path / "out/results.md").read_text().splitlines()) == 4

    shutil.copyfile(folder / "contact_sheet.png", folder / "frames/00001.png")
    (damaged,) = (tmp_path / "out/generated").glob("people_007_people_008_none_*")
    shutil.rmtree(damaged / "frames")
    assert measure(config()) == summary, "what was changed or is gone since is made again"
    assert measure(config("sampling.num_steps=2"))["mean"] != summary["mean"], "of other settings, other figures"
    with monkeypatch.context() as patch:
        patch.setattr("eval.benchmark.retarget.Person", None)
        assert measure(config()) == summary
    (folder / "frames/00000.png").write_bytes((folder / "frames/00001.png").read_bytes())
    assert measure(config()) == summary, "frames that were not generated are made again"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("[]", "names no one"),
        ("[[people_001]]", "must be a subject and another person"),
        ("[[people_001,people_001]]", "must be a subject and another person"),
        ("[[people_001,people_007]]", "differ in their kind of motion"),
        ("[[people_001,people_099]]", "pairs=people_099 is unknown"),
    ],
)
def test_bad_pairs_are_refused(pairs, message, config, tmp_path):
    with pytest.raises(UserError, match=message):
        measure(config(f"pairs={pairs}"))
    assert not (tmp_path / "out").exists()


def test_no_more_frames_than_a_driver_has(config):
    assert config("frames=56").frames == 56
    with pytest.raises(UserError, match="frames=57 must be at least 1 and at most 56"):
        config("frames=57")
