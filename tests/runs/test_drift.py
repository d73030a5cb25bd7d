"""Drift is seen where a video drifts, and only there."""

import numpy as np
import pytest
from PIL import Image

from src.people.identity import sample_identity
from src.people.render import render_clip
from src.runs.drift import drift, plot_drift


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return render_clip(sample_identity(4), "talk", 20, 64, 4)[0]


def test_the_reference_itself_does_not_drift(frames):
    found = drift(np.repeat(frames[:1], 10, 0), frames[0])
    assert np.abs(found.colour).max() == 0 and found.likeness == pytest.approx(np.ones(10), abs=1e-5)


def test_a_video_that_darkens_drifts_in_colour_and_not_in_looks(frames):
    shade = np.linspace(1, 0.6, 20)[:, None, None, None]
    found = drift((frames[:1] * shade).round().astype(np.uint8), frames[0])
    assert (np.diff(found.colour) > 0).all() and found.colour[-1] > 10
    assert found.likeness.min() > 0.99
    summary = found.summary()
    assert summary["colour"]["first"] < summary["colour"]["mean"] < summary["colour"]["last"]


def test_another_person_is_less_like_the_reference(frames):
    others = render_clip(sample_identity(9), "talk", 20, 64, 9)[0]
    own, other = drift(frames, frames[0]), drift(others, frames[0])
    assert own.likeness.min() > other.likeness.max() and own.colour.max() < other.colour.min()


def test_a_flat_picture_is_like_nothing(frames):
    assert drift(np.zeros((2, 64, 64, 3), np.uint8), frames[0]).likeness.tolist() == [0, 0]


def test_the_plot_is_a_picture(frames, tmp_path):
    plot_drift(drift(frames, frames[0]), tmp_path / "drift.png", fps=10)
    assert (tmp_path / "drift.png").read_bytes()[:4] == b"\x89PNG"


def test_one_frame_is_seen_in_its_plot(frames, tmp_path):
    for name, few in (("one", frames[:1]), ("two", frames[:2])):
        plot_drift(drift(few, frames[5]), tmp_path / f"{name}.png", fps=10)
        picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int)
        assert (np.abs(picture - (0x2A, 0x6F, 0x97)).sum(-1) < 30).sum() > 20
