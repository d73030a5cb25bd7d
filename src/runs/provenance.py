"""What a result comes from: versions and git revision."""

import functools
import platform
import subprocess
from typing import Any

from src.common.paths import PACKAGE_ROOT
from src.common.system import installed_version

RECORDED_PACKAGES = ("posecrafter", "torch", "lightning", "diffusers", "transformers", "hydra-core", "numpy")


def environment() -> dict[str, str | None]:
    """Versions that a result depends on; None: not installed, as ours where it runs from a clone alone."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in RECORDED_PACKAGES}}


@functools.cache
def git_revision() -> dict[str, Any] | None:
    """Commit of this source tree, and whether files differ from it; None outside of a git checkout."""
    try:
        # A package in a `.venv` lies in the checkout of whatever project that is.
        _git("ls-files", "--error-unmatch", __file__)
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "modified": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
