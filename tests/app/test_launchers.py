"""Sweeps on several processes: every launcher gives what one process gives, and each worker has a GPU of its own."""

import hashlib
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import src.app.launchers
from src.app.launchers import LAUNCHERS, free_gpu, num_gpus, require_launcher, visible_gpus
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.train import main
from tests.conftest import ROOT

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=2", "trainer.precision=32-true", "sampling.num_steps=1")
SMALL = ("data.num_frames=2", "data.batch_frames=2", "data.num_test_frames=2")
SWEEP = ("-m", "subject=people_001,people_002", *FAST, *SMALL)


def need(launcher: str) -> None:
    try:
        version(LAUNCHERS[launcher][0])
    except PackageNotFoundError:
        pytest.skip(f"{LAUNCHERS[launcher][0]} is not installed: pip install '.[{LAUNCHERS[launcher][1]}]'")


def sweep(folder: Path, *options: str) -> dict[str, str]:
    """Checksums of the adapters and frames of a sweep that is started from this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["src.train", *SWEEP, *options, f"hydra.sweep.dir={folder}/sweep"])
        for name, value in {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}.items():
            patch.setenv(name, value)
        main()
    files = [*folder.glob("sweep/*/adapter.safetensors"), *folder.glob("sweep/*/frames/*.png")]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def serial_results(tmp_path_factory) -> dict[str, str]:
    """Of the sweep without a launcher, in this process alone."""
    found = sweep(tmp_path_factory.mktemp("serial"))
    assert len(found) == 2 * (1 + 2) and len(set(found.values())) == len(found)
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_composes_with_the_type_that_its_plugin_gives(launcher):
    need(launcher)
    overrides = ["experiment=scale_people", f"hydra/launcher={launcher}", "subject=x"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
    assert cfg.hydra.launcher._target_.endswith("Launcher") and "launcher" not in cfg
    assert OmegaConf.get_type(cfg.hydra.launcher) is not dict, "a misspelt option of it would pass"
    ours = cfg.hydra.job.env_set.get("CUDA_VISIBLE_DEVICES") is not None
    assert ours == (launcher in ("gpus", "slurm_local")), "Slurm and Ray hand out GPUs themselves"


def test_options_of_slurm_are_given_as_documented():
    need("slurm")
    text = (ROOT / "experiments/SCALE.md").read_text()
    quoted = re.findall(r'`"(\+?hydra\.launcher\.[^"]*)"`', text)
    plain = [f"hydra.launcher{name}=1" for name in re.findall(r"`(\.[a-z_]+)`", text)]
    assert len(quoted) == 2 and len(plain) > 4
    overrides = ["experiment=scale_people", "hydra/launcher=slurm", "subject=x", *quoted, *plain]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        launcher = compose("train", overrides=overrides, return_hydra_config=True).hydra.launcher
    assert launcher.setup == ["module load cuda"] and launcher.additional_parameters == {"mail-type": "END"}
    assert launcher.mem_gb == 1


def test_every_launcher_of_the_group_is_known():
    assert sorted(path.stem for path in (CONF_DIR / "hydra/launcher").glob("*.yaml")) == sorted(LAUNCHERS)


@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ("gpus", ("hydra.launcher.n_jobs=2",)),
        ("slurm_local", ()),
        ("ray_cluster", ("hydra.launcher.ray.init.address=local", "hydra.launcher.ray.remote.num_gpus=0")),
    ],
)
def test_same_files_as_one_process(launcher, options, serial_results, tmp_path):
    need(launcher)
    assert sweep(tmp_path, f"hydra/launcher={launcher}", *options) == serial_results


@pytest.mark.parametrize(
    ("launcher", "option", "said"),
    [
        ("gpus", "hydra.launcher.n_jobs=0", "n_jobs == 0 in Parallel has no meaning"),
        ("slurm", "hydra.launcher.partition=gpu", 'Could not detect "srun", are you indeed on a slurm cluster?'),
    ],
)
def test_what_a_launcher_refuses_is_one_line(call_main, monkeypatch, tmp_path, launcher, option, said):
    need(launcher)
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = ("subject=people_001", "model=tiny", "seed=0,1")
    status, stderr = call_main(main, "-m", *jobs, f"hydra/launcher={launcher}", option)
    assert (status, stderr.splitlines()[-1]) == (2, f"error: the launcher cannot run the jobs: {said}")
    assert "Traceback" not in stderr


def test_a_missing_launcher_is_one_line_that_names_its_extra(monkeypatch):
    def missing(distribution: str) -> str:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(src.app.launchers, "version", missing)
    require_launcher(["subject=x", "hydra/launcher=basic"])
    with pytest.raises(UserError, match=r"ray_cluster needs hydra-ray-launcher.*pip install '\.\[ray\]'"):
        require_launcher(["-m", "hydra/launcher=ray_cluster"])


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Pretend that this machine has some GPUs, with locks of its own."""
    monkeypatch.setattr(src.app.launchers.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(src.app.launchers, "_held", [])

    def have(names: str | None) -> None:
        free_gpu.cache_clear()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names) if names is not None else monkeypatch.delenv(
            "CUDA_VISIBLE_DEVICES", raising=False
        )

    yield have
    free_gpu.cache_clear()


@pytest.mark.parametrize(("listed", "names"), [("2,GPU-8f", ["2", "GPU-8f"]), ("", []), ("-1", []), ("1,-1,0", ["1"])])
def test_gpus_are_those_that_cuda_would_see(gpus, listed, names):
    gpus(listed)
    assert visible_gpus() == names and num_gpus() == len(names) and num_gpus(1) == max(1, len(names))


def test_a_process_keeps_its_gpu_and_another_gets_the_next(gpus, tmp_path):
    gpus("2,7")
    assert free_gpu() == "2" == free_gpu()
    script = f"""
import tempfile; tempfile.gettempdir = lambda: {str(tmp_path)!r}
from src.app.launchers import free_gpu
print(free_gpu(), flush=True); input()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline().strip() == "7"
        free_gpu.cache_clear()
        with pytest.raises(UserError, match="taken all 2 GPUs"):
            free_gpu()
    finally:
        other.kill()
        other.wait()
    assert free_gpu() == "7", "a killed process lets go of its GPU"


def test_without_gpus_nothing_is_taken(gpus, tmp_path):
    gpus("")
    assert free_gpu() == "" and not list(tmp_path.rglob("*.lock"))
