"""Where the package's own files lie, whatever the working directory is."""

from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
CONF_DIR = PACKAGE_ROOT / "conf"
MINI_WEIGHTS = PACKAGE_ROOT / "src" / "models" / "weights"


def weights_here(folder: str) -> str:
    """Weights that ship, as they lie here, where a run names them as they lay where it was made; else the same name."""
    path = Path(folder)
    ships = path.parts[-4:-1] == MINI_WEIGHTS.parts[-3:] and (MINI_WEIGHTS / path.name).is_dir()
    return str(MINI_WEIGHTS / path.name) if ships and not path.exists() else folder
