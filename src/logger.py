"""Loggers that need more than their class."""

import os
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger

from src.errors import UserError


def wandb_logger(*, project: str, save_dir: str, group: str | None, tags: list[str]) -> WandbLogger:
    """A W&B logger that works offline where there is no key, instead of asking for one."""
    offline = not wandb.api.api_key and os.environ.get("WANDB_MODE", "offline") != "disabled"
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    try:
        return WandbLogger(
            project=project, save_dir=save_dir, name=Path(save_dir).name, group=group, tags=list(tags), offline=offline
        )
    except wandb.errors.Error as error:
        raise UserError(f"logger=wandb could not start: {error}; use logger=csv or WANDB_MODE=offline") from error
