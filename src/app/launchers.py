"""What the Hydra launchers of `conf/hydra/launcher` need: one GPU a process, and a clear word where one is missing."""

import functools
import itertools
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from src.common.errors import UserError

# Launcher -> the distribution that it configures, our extra that brings it.
LAUNCHERS = {
    "gpus": ("hydra-joblib-launcher", "joblib"),
    "slurm": ("hydra-submitit-launcher", "slurm"),
    "slurm_local": ("hydra-submitit-launcher", "slurm"),
    "ray_cluster": ("hydra-ray-launcher", "ray"),
}
# The libraries behind them.
LAUNCHING = ("joblib", "submitit", "ray")
_held: list[FileLock] = []


def require_launcher(arguments: Sequence[str]) -> None:
    """Check that the launcher which a command line names is installed.

    Raises:
        UserError: it is not; names the extra that brings it.
    """
    for argument in arguments:
        group, _, name = argument.partition("=")
        if group == "hydra/launcher" and name in LAUNCHERS:
            distribution, extra = LAUNCHERS[name]
            try:
                version(distribution)
            except PackageNotFoundError:
                raise UserError(
                    f"hydra/launcher={name} needs {distribution}: install it with pip install '.[{extra}]'"
                ) from None


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    CUDA is not initialised by it, so that CUDA_VISIBLE_DEVICES can still be set afterwards.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        import torch  # seconds, which a Ray worker's hook need not wait for

        return [str(index) for index in range(torch.cuda.device_count())]
    names = [name.strip() for name in listed.split(",")]
    return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))


def num_gpus(minimum: int = 0) -> int:
    """Number of visible GPUs, and at least `minimum`."""
    return max(minimum, len(visible_gpus()))


@functools.cache
def free_gpu() -> str:
    """A GPU of this machine that no other process of this user has taken so; it is this process's own until it ends.

    A lock on a file holds it, which the system lets go of when the process ends, killed or not. Workers run several
    jobs, one after another, and keep their GPU: CUDA cannot change it once it is initialised.

    Returns:
        Its name for CUDA_VISIBLE_DEVICES; empty on a machine without GPUs.

    Raises:
        UserError: all are taken.
    """
    names = visible_gpus()
    folder = Path(tempfile.gettempdir()) / f"posecrafter_gpus_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for name in names:
        lock = FileLock(folder / f"{name.replace('/', '_')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        return name
    if names:
        raise UserError(
            f"other jobs have taken all {len(names)} GPUs of this machine: run at most one job a GPU at once "
            "(hydra.launcher.n_jobs=, hydra.sweeper.max_batch_size=), or wait for the other sweep"
        )
    return ""


def enter_working_directory() -> None:
    """Let a Ray worker, which starts where its node was started, find relative paths as the sweep's command does."""
    os.chdir(os.environ["POSECRAFTER_WORKING_DIRECTORY"])


OmegaConf.register_new_resolver("num_gpus", num_gpus, replace=True)
OmegaConf.register_new_resolver("free_gpu", free_gpu, replace=True)
