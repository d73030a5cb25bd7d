"""What a result comes from: versions, git revision, checksums, settings."""

import functools
import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from src.common.files import fingerprint
from src.common.paths import PACKAGE_ROOT
from src.pose.keypoints import PoseSequence

RECORDED_PACKAGES = ("torch", "lightning", "diffusers", "transformers", "hydra-core", "numpy")
# What neither a fine-tune nor a video depends on.
IRRELEVANT = (
    *("run_dir", "fine_tune_cache", "logger", "preview", "checkpoint_every_n_steps", "sample_after_train", "pose"),
    *("data.root", "trainer.accelerator", "trainer.devices", "trainer.log_every_n_steps"),
    "trainer.enable_model_summary",
    "steps",  # an experiment's table, of which trainer.max_steps holds the entry that counts
)
# What a fine-tune does not depend on besides.
OF_SAMPLING = ("method", "sampling", "target_prompt")


def environment() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}}


@functools.cache
def git_revision() -> dict[str, Any] | None:
    """Commit of this source tree, and whether files differ from it; None outside of a git checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "modified": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def arrays_sha256(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays: shapes, types and values."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype}".encode())
        sha.update(np.ascontiguousarray(array))
    return sha.hexdigest()


def poses_sha256(poses: PoseSequence) -> str:
    """SHA-256 of a pose sequence."""
    return arrays_sha256(poses.xy, poses.confidence, poses.mask)


def weights_identity(model: DictConfig) -> list[Any]:
    """What tells a config's base and ControlNet weights from others of that name.

    Of local weights name, size and time of their files; of a hub id, the id.
    """
    return [_files_of(model.base), _files_of(model.controlnet)]


def _files_of(weights: str | None) -> Any:
    if weights is None or not Path(weights).exists():
        return weights
    path = Path(weights)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return fingerprint(files)


def plain_settings(cfg: DictConfig, without: Sequence[str]) -> Any:
    """Resolved values of a configuration without some keys, which may be dotted."""
    # Resolved first: what is left may refer to what goes.
    kept = OmegaConf.to_container(cfg, resolve=True)
    for key in without:
        *parents, last = key.split(".")
        node = kept
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(last, None)
    return kept
