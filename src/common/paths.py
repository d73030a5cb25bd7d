"""Where the package's own files lie, whatever the working directory is."""

import os
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
CONF_DIR = PACKAGE_ROOT / "conf"
MINI_WEIGHTS = PACKAGE_ROOT / "src" / "models" / "weights"


def choices(group: str) -> dict[str, Path]:
    """Of a group of the configuration that ships the choices, by name their files."""
    return {path.stem: path for path in sorted((CONF_DIR / group).glob("*.yaml"))}


def weights_here(folder: str) -> str:
    """Weights that ship, as they lie here, where a run names them as they lay where it was made; else the same name."""
    path = Path(folder)
    ours = str(MINI_WEIGHTS / path.name)
    # Unlike `Path.exists`, these take what may not be looked at, or no folder can be called, as not there.
    ships = path.parts[-4:-1] == MINI_WEIGHTS.parts[-3:] and os.path.isdir(ours)
    return ours if ships and not os.path.exists(folder) else folder
