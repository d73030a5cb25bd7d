"""What every entry point shares: Hydra, one-line errors, exit codes."""

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import hydra
import transformers
import wandb
from diffusers.utils import logging as diffusers_logging
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from src.errors import UserError
from src.launch import require_launcher

log = logging.getLogger(__name__)
PACKAGE_ROOT = Path(__file__).resolve().parent.parent
CONF_DIR = PACKAGE_ROOT / "conf"
USER_ERROR_STATUS = 2

# What ships with the package is found from any working directory: ${package_path:src/models/weights/mini}.
OmegaConf.register_new_resolver("package_path", lambda path: str(PACKAGE_ROOT / path), replace=True)


def entry(config_name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Decorate `main(cfg)` as a command line program configured by `conf/<config_name>.yaml`.

    A `UserError` or an unset mandatory value ends the program with one line on standard error and status 2, an
    interrupt with status 130. Everything else is a defect and keeps its traceback.
    """

    def decorate(main: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(main)
        def run(cfg: DictConfig) -> None:
            _quiet_libraries()
            try:
                main(cfg)
            except UserError as error:
                _end(error)
            except InstantiationException as error:
                if not isinstance(error.__cause__, UserError):
                    raise
                _end(error.__cause__)
            except MissingMandatoryValue as error:
                key = str(error).split("full_key: ")[-1].splitlines()[0] if "full_key" in str(error) else str(error)
                _end(UserError(f"{key} is not set: give it on the command line as {key}=VALUE"))
            except KeyboardInterrupt:
                _exit("interrupted: what was finished is kept; the same command goes on from there", 130)
            finally:
                # The next job of a sweep would go on logging into this one's run.
                if wandb.run is not None:
                    wandb.finish()

        launch = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(run)

        @functools.wraps(main)
        def command_line() -> None:
            sys.argv[1:] = _from_working_directory(sys.argv[1:])
            try:
                require_launcher(sys.argv[1:])
            except UserError as error:
                _exit(f"error: {error}", USER_ERROR_STATUS)
            if {"-m", "--multirun"}.isdisjoint(sys.argv):
                launch()
            else:
                _launch_sweep(launch)

        return command_line

    return decorate


def _launch_sweep(launch: Callable[[], None]) -> None:
    """Run a sweep; a job's `UserError`, which Hydra would print as a traceback at the end, is one line here as well."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    # Hydra then raises what it would print.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        launch()
    except UserError as error:
        _exit(f"error: {error}", USER_ERROR_STATUS)
    except (HydraException, OmegaConfBaseException) as error:
        _exit(str(error), 1)
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]


def _from_working_directory(arguments: list[str]) -> list[str]:
    """Make `--config-path` absolute: Hydra takes it as relative to the source file, which nobody would expect."""
    arguments = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name not in ("--config-path", "-cp"):
            continue
        if equals:
            arguments[i] = f"{name}={Path(value).resolve()}"
        elif i + 1 < len(arguments):
            arguments[i + 1] = str(Path(arguments[i + 1]).resolve())
    return arguments


def _quiet_libraries() -> None:
    """Leave what our own log does not say better: warnings that a user can do nothing about, banners, tips."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for message in (
        ".*does not have many workers.*",
        ".*in eval mode at the start of training.*",
        ".*lr_scheduler.step.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()


def _end(error: UserError) -> None:
    """One line and status 2; in a sweep the error goes on to Hydra, which runs the other jobs before it reports it."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        log.error("%s", error)
        raise error
    _exit(f"error: {error}", USER_ERROR_STATUS)


def _exit(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(status)
