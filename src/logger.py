"""Loggers that need more than their class."""

import netrc
import os
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger

from src.errors import UserError


def wandb_logger(*, project: str, save_dir: str, group: str | None, tags: list[str]) -> WandbLogger:
    """A W&B logger that works offline where there is no key, instead of asking for one."""
    offline = not _has_key()
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    try:
        return WandbLogger(
            project=project, save_dir=save_dir, name=Path(save_dir).name, group=group, tags=list(tags), offline=offline
        )
    except wandb.errors.Error as error:
        raise UserError(f"logger=wandb could not start: {error}; use logger=csv or WANDB_MODE=offline") from error


def _has_key() -> bool:
    """Whether W&B would find a key without asking: in the environment, or where `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
