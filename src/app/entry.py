"""What every entry point shares: Hydra, one-line errors, exit codes."""

import difflib
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
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from src.app.launchers import require_launcher
from src.common.errors import UserError
from src.common.paths import CONF_DIR, PACKAGE_ROOT

log = logging.getLogger(__name__)
USER_ERROR_STATUS = 2

# What ships with the package is found from any working directory: ${package_path:src/models/weights/mini}.
OmegaConf.register_new_resolver("package_path", lambda path: str(PACKAGE_ROOT / path), replace=True)


def entry(config_name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Decorate `main(cfg)` as a command line program configured by `conf/<config_name>.yaml`.

    A `UserError` or an unset mandatory value ends the program with one line on standard error and status 2, an
    interrupt with status 130. Everything else is a defect and keeps its traceback.
    """

    def decorate(main: Callable[[DictConfig], object]) -> Callable[[], None]:
        composed = False

        @functools.wraps(main)
        def run(cfg: DictConfig) -> None:
            nonlocal composed
            composed = True
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
            except InterpolationResolutionError as error:
                _end(UserError(_one_line(error)))
            except KeyboardInterrupt:
                _exit("interrupted: what was finished is kept; the same command goes on from there", 130)
            finally:
                # The next job of a sweep would go on logging into this one's run.
                if wandb.run is not None:
                    wandb.finish()

        launch = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(run)

        @functools.wraps(main)
        def command_line() -> None:
            nonlocal composed
            composed = False
            sys.argv[1:] = _from_working_directory(sys.argv[1:])
            before = os.environ.get("HYDRA_FULL_ERROR")
            # Hydra then raises what it would print, over many lines.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            try:
                require_launcher(sys.argv[1:])
                _require_experiment(sys.argv[1:])
                launch()
            except UserError as error:
                _exit(f"error: {error}", USER_ERROR_STATUS)
            except (HydraException, OmegaConfBaseException) as error:
                if composed:
                    raise
                _exit(f"error: {_one_line(error)}", USER_ERROR_STATUS)
            finally:
                if before is None:
                    del os.environ["HYDRA_FULL_ERROR"]

        return command_line

    return decorate


def _require_experiment(arguments: list[str]) -> None:
    """Check `experiments=`: the group is optional, so that Hydra would leave out a file that is not there.

    Raises:
        UserError: names the experiments that there are.
    """
    given = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+").startswith("experiments=")]
    # Sweep functions such as glob(*) name what is there.
    wanted = {name for names in given if "(" not in names for name in names.split(",")} - {"null"}
    if not wanted or any(argument.startswith("hydra.searchpath") for argument in arguments):
        return
    folders = {Path("experiments"), PACKAGE_ROOT / "experiments"}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option in ("--config-dir", "-cd"):
            folders.add(Path(value or following) / "experiments")
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    for name in sorted(wanted.difference(known)):
        close = difflib.get_close_matches(name, known, n=len(known), cutoff=0)
        raise UserError(f"experiments={name} is unknown; known, closest first: {', '.join(close)}")


def _one_line(error: Exception) -> str:
    """What Hydra says of a command line that it cannot follow, without its search path and bookkeeping."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={name} is unknown (no {group}/{name}): choose one of {', '.join(error.options)}"
    lines = [line.strip() for line in str(error).split("Config search path:")[0].splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


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
