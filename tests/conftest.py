"""Fixtures that the suites share: the toy model, a short rendered clip, the command line."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import src.app.entry
from src.app.as_in_run import GROUPS
from src.app.entry import settings_of
from src.app.loggers import build_loggers
from src.app.run_dir import choose_run_dir
from src.common.trainer import TrainerSettings
from src.common.typed import changed, given
from src.data.subject_split import TrainingClip
from src.inpainting.repair import RepairSettings
from src.inpainting.repair import repair as repair_clip
from src.models.backbone import VideoBackbone
from src.models.build import build_backbone
from src.models.image_model import ImageModel
from src.models.loading import random_image_model
from src.models.settings import ModelSettings
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.runs.film import film_person
from src.runs.make_run import make_run
from src.runs.run_folder import RunFolder
from src.runs.sample_settings import SampleSettings
from src.runs.settings import RunSettings
from src.sampling.jobs import GenerationJob
from src.sampling.settings import MethodSettings, SamplingSettings
from src.showcase.gallery import GallerySettings
from src.showcase.gallery import gallery as make_gallery
from src.showcase.look import LookSettings
from src.showcase.look import look as look_at
from tests.dimensions import checked_dimensions

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared/data/clips"
TINY = ModelSettings(name="tiny", base="tiny", configs="tiny", random_seed=0)
CPU = TrainerSettings(accelerator="cpu", precision="32-true")
FAST = SamplingSettings(num_steps=4, guidance_scale=2.0, frame_chunk=None)
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


@pytest.fixture(scope="session", autouse=True)
def dimensions() -> Iterator[None]:
    """Every test checks the dimension suffixes of what it calls."""
    with checked_dimensions():
        yield


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
def job(people_clip) -> GenerationJob:
    """That person in three further poses."""
    frames, poses = people_clip
    return GenerationJob(
        clip=TrainingClip(frames[:4], poses[:4], "a person", 10.0),
        target_poses=poses[6:9],
        target_prompt="a person",
        method=MethodSettings(),
        sampling=FAST,
        seed=0,
        fps=10.0,
    )


def composed(name: str, *overrides: str) -> DictConfig:
    """The configuration of a command, as its command line gives it."""
    with initialize_config_dir(str(src.app.entry.CONF_DIR), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.fixture(scope="session")
def compose_config() -> Callable[..., DictConfig]:
    return composed


def run_settings(*overrides: str) -> RunSettings:
    """Settings of `src.train`."""
    return settings_of(RunSettings, composed("train", *overrides))


@pytest.fixture(scope="session")
def train() -> Callable[..., dict[str, Any]]:
    """What `src.train` does, in this process, without its command line; returns the summary."""

    def run(*overrides: str) -> dict[str, Any]:
        cfg = composed("train", *overrides)
        settings = settings_of(RunSettings, cfg)
        folder = RunFolder(choose_run_dir(settings))
        cfg.run_dir = folder.path
        return make_run(settings, folder, loggers=lambda: build_loggers(cfg.logger, settings))

    return run


@pytest.fixture(scope="session")
def sample() -> Callable[..., dict[str, Any]]:
    """What `src.sample` does; returns the summary."""

    def run(*overrides: str) -> dict[str, Any]:
        cfg = composed("sample", *overrides)
        settings = settings_of(SampleSettings, cfg, without=(*GROUPS, "model"))
        trained = RunFolder(str(settings.run)).settings()
        return film_person(
            settings, **{group: changed(getattr(trained, group), given(cfg[group]), group) for group in GROUPS}
        )

    return run


@pytest.fixture(scope="session")
def repair() -> Callable[..., dict[str, Any]]:
    """What `src.repair` does; returns the summary."""
    return lambda *overrides: repair_clip(settings_of(RepairSettings, composed("repair", *overrides)))


@pytest.fixture(scope="session")
def look() -> Callable[..., dict[str, Any]]:
    """What `src.poses show` does; `output=` must be given. Returns what is in `poses.json`."""

    def run(*overrides: str) -> dict[str, Any]:
        settings = settings_of(LookSettings, composed("poses", *overrides))
        return look_at(settings, Path(settings.output))

    return run


@pytest.fixture(scope="session")
def gallery() -> Callable[..., list[Path]]:
    """What `src.gallery` does; returns the pictures."""
    return lambda *overrides: make_gallery(settings_of(GallerySettings, composed("gallery", *overrides)))


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
