"""What a result comes from: versions and git revision."""

import functools
import platform
import subprocess
from importlib.metadata import version
from typing import Any

from src.common.paths import PACKAGE_ROOT

RECORDED_PACKAGES = ("posecrafter", "torch", "lightning", "diffusers", "transformers", "hydra-core", "numpy")


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
