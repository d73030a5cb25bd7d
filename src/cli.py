"""What every entry point shares: Hydra, one-line errors, exit codes."""

import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from src.errors import UserError

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"
USER_ERROR_STATUS = 2


def entry(config_name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Decorate `main(cfg)` as a command line program configured by `conf/<config_name>.yaml`.

    A `UserError` or an unset mandatory value ends the program with one line on standard error and status 2, an
    interrupt with status 130. Everything else is a defect and keeps its traceback.
    """

    def decorate(main: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(main)
        def run(cfg: DictConfig) -> None:
            warnings.filterwarnings("ignore", category=FutureWarning)
            try:
                main(cfg)
            except UserError as error:
                _exit(f"error: {error}", USER_ERROR_STATUS)
            except MissingMandatoryValue as error:
                key = str(error).split("full_key: ")[-1].splitlines()[0] if "full_key" in str(error) else str(error)
                _exit(f"error: {key} is not set: give it on the command line as {key}=VALUE", USER_ERROR_STATUS)
            except KeyboardInterrupt:
                _exit("interrupted: what was finished is kept; the same command goes on from there", 130)

        return hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(run)

    return decorate


def _exit(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(status)
