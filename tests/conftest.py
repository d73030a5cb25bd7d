"""Fixtures that the suites share: the toy model, a short rendered clip, the command line."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import src.app.entry
from src.models.backbone import VideoBackbone
from src.models.build import build_backbone
from src.models.image_model import ImageModel
from src.models.loading import random_image_model
from src.models.settings import ModelSettings
from src.people.render import render_clip, sample_identity

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared/data/clips"
TINY = ModelSettings(name="tiny", base="tiny", configs="tiny", random_seed=0)
# Two workers on two cores: more threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Take away the handler that Hydra's `main` leaves: it writes to a stream that pytest closes with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def tiny() -> ImageModel:
    return random_image_model("tiny", base="tiny", seed=0)


@pytest.fixture
def scheduler(tiny: ImageModel) -> DDIMScheduler:
    """Stable Diffusion's scheduler as the public ControlVideo code sets it."""
    return tiny.scheduler


@pytest.fixture
def backbone(tiny: ImageModel) -> VideoBackbone:
    """Toy backbone whose temporal branch is no longer zero, so that frames depend on each other."""
    return perturbed(build_backbone(tiny, TINY))


def perturbed(backbone: VideoBackbone) -> VideoBackbone:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.trainable_state().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return backbone.eval()


@pytest.fixture(scope="session")
def people_clip():
    """Twelve frames of one rendered person at 64 pixels, with exact poses."""
    return render_clip(sample_identity(2), "talk", 12, 64, 2)


@pytest.fixture
def compose_config() -> Callable[..., DictConfig]:
    def make(name: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(str(src.app.entry.CONF_DIR), version_base="1.3"):
            return compose(name, overrides=list(overrides))

    return make


@pytest.fixture
def call_main(tmp_path: Path, monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Call an entry point in this process, from an empty folder; returns its exit status and standard error.

    Much quicker than `run_module`, which imports everything anew.
    """

    def call(main: Callable[[], None], *args: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [main.__module__, *args])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def run_module(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run `python -m MODULE ARGS…` from an empty folder, as a user would."""

    def run(module: str, *args: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", module, *args]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    return run
