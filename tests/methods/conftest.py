"""Toy weights of the other systems in their published layouts, for command lines."""

from pathlib import Path

import pytest
import torch

from tests.baselines.disco_reference import SCHEDULER
from tests.baselines.toys import TINY, public_disco_names, toy_disco, write_disco_configs, write_magicanimate


@pytest.fixture(scope="session")
def magicanimate_options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings of MagicAnimate with toy weights on `model=tiny`."""
    folder = tmp_path_factory.mktemp("magicanimate")
    write_magicanimate(folder, sizes=TINY)
    small = ["method.num_steps=2", "method.resolution=64", "method.window_frames=2", "method.window_overlap=1"]
    return ["method=magicanimate", f"method.weights={folder}", *small]


@pytest.fixture(scope="session")
def disco_options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings of DisCo with toy weights, but for `method=`."""
    folder = tmp_path_factory.mktemp("disco")
    write_disco_configs(folder / "base", toy_disco(), SCHEDULER)
    torch.save({"module": public_disco_names(toy_disco())}, folder / "mp_rank_00_model_states.pt")
    weights = [f"method.weights={folder}/mp_rank_00_model_states.pt", f"method.configs={folder}/base"]
    return [*weights, "method.num_steps=2", "method.resolution=64"]


@pytest.fixture(scope="session")
def short_fine_tune() -> list[str]:
    return ["method.fine_tune.max_steps=3", "method.fine_tune.batch_size=2"]


@pytest.fixture
def rendered_picture(tmp_path: Path) -> Path:
    """One picture of a rendered person."""
    from src.media.video import write_image
    from src.people.identity import sample_identity
    from src.people.render import render_clip

    path = tmp_path / "me.png"
    write_image(path, render_clip(sample_identity(3), "talk", 1, 64, 3)[0][0])
    return path
