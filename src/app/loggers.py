"""Loggers that need more than their class, and what they are given besides metrics."""

import logging
import netrc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.app.command_line import one_line
from src.app.sweep import in_sweep
from src.common.errors import UserError, explained
from src.common.typed import plain

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger

log = logging.getLogger(__name__)


def wandb_logger(*, project: str, save_dir: str | Path, group: str | None, tags: list[str]) -> "WandbLogger":
    """A W&B logger, its run started, that works offline where there is no key, instead of asking for one.

    Without a `group`, the runs of a sweep are grouped under the name of its folder.

    Raises:
        UserError: W&B refuses its settings or the key, or cannot be reached.
    """
    from lightning.pytorch.loggers import WandbLogger
    from wandb.errors import Error as WandbError

    # Lightning would go on logging into the run of another logger of this process.
    finish_wandb()
    if group is None and in_sweep():
        group = Path(HydraConfig.get().sweep.dir).name
    mode = os.environ.get("WANDB_MODE")
    if mode != "disabled" and not _has_key():
        mode = "offline"
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    try:
        logger = WandbLogger(
            project=project, save_dir=save_dir, name=Path(save_dir).name, group=group, tags=list(tags), mode=mode
        )
        _ = logger.experiment
    except WandbError as error:
        raise UserError(f"logger=wandb could not start: {error}; use logger=csv or WANDB_MODE=offline") from error
    return logger


def finish_wandb(failed: bool = False) -> None:
    """End this process's W&B run, if there is one, as finished or as failed; where W&B has gone, with a warning."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        try:
            wandb.finish(exit_code=int(failed))
        except Exception as error:
            log.warning("W&B is not told how its run ended: %s", error)


def _has_key() -> bool:
    """Whether W&B would find a key without asking: in the environment, or where `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def build_loggers(logger: DictConfig | None, settings: Any) -> "list[Logger]":
    """The logger of our configuration, told the settings where it keeps them; none of `logger=none`.

    Args:
        logger: the config group; its `_target_` comes from our own configs or the command line. None: `logger=null`.
        settings: a dataclass of settings.

    Raises:
        UserError: what the command line says of the logger is none, or W&B does not start.
    """
    if not logger:
        return []
    try:
        built = instantiate(logger)
    except InstantiationException as error:
        # Who goes on with other subjects catches a UserError.
        if isinstance(cause := error.__cause__, UserError):
            raise cause from cause.__cause__
        if (refused := explained(error)) is not None:
            raise refused from error
        raise UserError(f"the logger cannot be made: {one_line(error)}; choose one: logger=csv") from error
    if type(built).__name__ == "WandbLogger":
        # Beside the other loggers' files lies `config.yaml`.
        built.experiment.config.update(plain(settings), allow_val_change=True)
    return [built]


def log_video(name: str, path: Path, logger: DictConfig | None, settings: Any) -> None:
    """Add a video file to W&B's run, which begins now where the fine-tune was made before and not here.

    The run is finished by then: where W&B does not start, a warning says so.

    Args:
        logger, settings: as of `build_loggers`; nothing happens with another logger than W&B's.
    """
    if not logger or logger.get("_target_") != f"{__name__}.{wandb_logger.__name__}":
        return
    if (wandb := sys.modules.get("wandb")) is None or wandb.run is None:
        try:
            build_loggers(logger, settings)
        except UserError as error:
            log.warning("the run is finished, but W&B has nothing of it: %s", error)
            return
        wandb = sys.modules["wandb"]
    if wandb.run is not None:
        wandb.run.log({name: wandb.Video(str(path), format=path.suffix[1:])})
