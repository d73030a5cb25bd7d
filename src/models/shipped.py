"""The configs that ship with the program, in diffusers' layout: they describe single files and random weights."""

from pathlib import Path
from typing import Any

from src.common.errors import UserError

CONFIGS = Path(__file__).parent / "configs"


def shipped_configs(name: str) -> Path:
    """Folder of the configs that are shipped under `name`.

    Raises:
        UserError: there are none.
    """
    known = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())
    if name not in known:
        raise UserError(f"model.configs={name} is unknown: choose one of {', '.join(known)}")
    return CONFIGS / name


def from_config(cls: type, folder: Path) -> Any:
    """A diffusers model of the class, initialised as its config says."""
    return cls.from_config(cls.load_config(folder))
