"""The measurement of likeness that the model card rests on, and that the toys train at all."""

import json

import numpy as np
import pytest

from tests.baselines import image_to_video
from tests.baselines.image_to_video import likeness
from tests.baselines.rendered import People, render_lookalikes

DRIVER = 77


@pytest.fixture(scope="module")
def people() -> People:
    return render_lookalikes([500, 501, 502, 503], 2, 64, driver=DRIVER)


def test_nothing_but_looks_tells_lookalikes_apart(people):
    for name in ("conditions", "drawings"):
        images = getattr(people, name)
        assert (images == images[:1]).all() and images.std() > 0
    assert len({frames.tobytes() for frames in people.frames}) == len(people)


def test_true_frames_show_their_people_and_anothers_do_not(people):
    true, swapped = likeness(people.frames, people), likeness(np.roll(people.frames, 1, 0), people)
    assert (true["right"], true["rank"], true["interval"]) == (1.0, 0.0, [1.0, 1.0])
    assert (
        true["rank_interval"] == [0.0, 0.0]
        and swapped["right"] == 0.0
        and swapped["rank"] > 0
        and true["chance"] == 0.25
    )


def test_the_background_has_no_say(people):
    """Each person before the next one's background is still themselves."""
    shown = people.persons.all(0)[None, ..., None]
    mixed = np.where(shown, people.frames, np.roll(people.frames, 1, 0))
    assert likeness(mixed, people)["right"] == 1.0


@pytest.mark.parametrize("system", ["disco", "magicanimate"])
def test_the_command_trains_and_measures(system, tmp_path, capsys):
    sizes = {"steps": 2, "people": 3, "held-out": 2, "poses": 1, "batch": 2, "sampling-steps": 1}
    image_to_video.main([system, str(tmp_path), *(f"--{name}={value}" for name, value in sizes.items())])
    figures = json.loads(capsys.readouterr().out)
    assert figures["trained_parameters"] > 1e6 and np.isfinite(figures["training_loss"]).all()
    assert figures["before"]["loss"] != figures["after"]["loss"] and 0 <= figures["after"]["right"] <= 1
    assert (tmp_path / "sheet.png").is_file() and len(
        json.loads((tmp_path / "figures.json").read_text())["losses"]
    ) == 2
