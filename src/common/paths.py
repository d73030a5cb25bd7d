"""Where the package's own files lie, whatever the working directory is."""

from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
CONF_DIR = PACKAGE_ROOT / "conf"
MINI_WEIGHTS = PACKAGE_ROOT / "src" / "models" / "weights"
