"""What every command shares: Hydra, typed settings, one-line errors, exit statuses."""

import contextlib
import functools
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NoReturn, TypeVar

import hydra
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from src.app import command_line
from src.app.as_in_run import offer_groups
from src.app.help import help_text, keys_of, wants_help
from src.app.launchers import LAUNCHING, require_launcher
from src.app.loggers import finish_wandb
from src.app.sweep import in_sweep, sweep_dir_by_time
from src.common.errors import ResourceError, UserError, explained, in_a_line
from src.common.paths import CONF_DIR, PACKAGE_ROOT, choices
from src.common.reading import check_encoding
from src.common.stopping import Stopped, going_on_with, raising_stops
from src.common.system import quick_precision, take_workspace
from src.common.typed import given, kinds_of, typed

T = TypeVar("T")
Main = Callable[[DictConfig], object]
log = logging.getLogger(__name__)
USER_ERROR_STATUS = 2
# What a command's configuration holds beside its settings: what names code, and what only composes.
OF_THE_COMMAND = ("logger", "repeat", "steps")

# What ships with the package is found from any working directory: ${package_path:src/models/weights/mini}.
# No folder of Hydra's own beside the results; in a config group its own default would come after ours.
_HYDRA = HydraConf(output_subdir=None, callbacks={"before_jobs": {"_target_": "src.app.before_jobs.BeforeJobs"}})
ConfigStore.instance().store(group="hydra", name="config", node=_HYDRA, provider="posecrafter")
offer_groups()
OmegaConf.register_new_resolver("package_path", lambda path: str(PACKAGE_ROOT / path), replace=True)
OmegaConf.register_new_resolver("quick_precision", quick_precision, replace=True)


def _steps_for(steps: Mapping[str, int], num_frames: int) -> int:
    """Of an experiment's table, the steps that go with a number of training frames."""
    table = {str(key): value for key, value in steps.items()}
    if str(num_frames) not in table:
        raise UserError(
            f"data.num_frames={num_frames}: the experiment knows the steps of {', '.join(table)} frames alone; give "
            f"+steps.{num_frames}=STEPS as well, or trainer.max_steps="
        )
    return table[str(num_frames)]


OmegaConf.register_new_resolver("steps_for", _steps_for, replace=True)


def settings_of(cls: type[T], cfg: DictConfig, *, without: Collection[str] = ()) -> T:
    """The settings of a command, typed and checked: where Hydra ends.

    Args:
        without: groups that the command reads by itself.

    Raises:
        UserError: names the key that is missing, unknown or wrong.
    """
    kept = [str(key) for key in cfg if key not in (*OF_THE_COMMAND, *without)]
    for key in kept:
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key} is not set: give it on the command line as {key}=VALUE")
    kind = given(cfg.method).get("kind") if "method" in kept else None
    if str(kind) in choices("method") and kind not in kinds_of(cls, "method"):
        raise UserError(f"method={kind} is not for this command: python -m eval.run method={kind} films by it")
    # In their place in the whole, since a setting may point at what is not kept (${steps.8}).
    return typed(cls, {key: given(cfg[key]) for key in kept})


def overrides() -> list[str]:
    """What this run's command line says, or its job's in a sweep; empty where nobody used one."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def command(name: str, settings: type) -> str:
    """This run as a line for a shell, its plain text as the shell would pass it on.

    Args:
        settings: the dataclass of the command's settings.
    """
    return shlex.join(["posecrafter", name, *command_line.as_given(overrides(), settings)])


def entry(
    config_name: str, settings: type, *, word: str | None = None, positional: Sequence[str] = ()
) -> Callable[[Main], Callable[[], None]]:
    """Decorate `main(cfg)` as a command line program configured by `conf/<config_name>.yaml`.

    Bad input ends the program with one line on standard error and status 2, SIGINT and SIGTERM with one line and
    status 130 and 143. Everything else is a defect and keeps its traceback.

    Args:
        settings: the dataclass of the command's settings; says which values are text that nobody parses.
        word: what must stand before the settings: the one thing that the command does.
        positional: keys of what may be given without its key, in this order.
    """

    def decorate(main: Main) -> Callable[[], None]:
        running = False

        @functools.wraps(main)
        def run(cfg: DictConfig) -> None:
            nonlocal running
            running = failed = True
            _quiet_libraries()
            try:
                # Here again, since launchers run this in processes of their own.
                with raising_stops(), going_on_with(sweep_dir_by_time()):
                    take_workspace()
                    main(cfg)
                failed = False
            except Exception as error:
                _end(error)
            finally:
                # The next job of a sweep would go on logging into this one's run.
                finish_wandb(failed)
            running = False

        launch = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(run)

        @functools.wraps(main)
        def started() -> None:
            nonlocal running
            running = False
            arguments = sys.argv[1:]
            with _ending_in_one_line(config_name, settings, lambda: running), _raising_hydra(), raising_stops():
                check_encoding(arguments)
                if wants_help(arguments):
                    asked = help_text(
                        config_name, main.__module__, word=word, positional=positional, arguments=arguments
                    )
                    sys.stdout.write(asked)
                    return
                named = command_line.with_keys(_without_word(arguments, word), positional)
                sys.argv[1:] = command_line.prepared(named, settings)
                command_line.check_flags(sys.argv[1:])
                command_line.check_groups(sys.argv[1:])
                require_launcher(arguments)
                launch()

        return started

    return decorate


@contextlib.contextmanager
def _raising_hydra() -> Iterator[None]:
    """Have Hydra raise what it would print over many lines; afterwards the arguments are as they were given."""
    arguments, before = sys.argv[1:], os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv[1:] = arguments
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


@contextlib.contextmanager
def _ending_in_one_line(config_name: str, settings: type, running: Callable[[], bool]) -> Iterator[None]:
    """End the program with a line and a status where a command line is refused, or a signal stops what it began.

    Args:
        config_name, settings: as of `entry`.
        running: whether a job was at work: what Hydra or OmegaConf raise then is a defect of ours.
    """
    try:
        yield
    except UserError as error:
        exit_with(f"error: {error}", USER_ERROR_STATUS)
    except (HydraException, OmegaConfBaseException) as error:
        if running():
            raise
        told = command_line.one_line(error, settings, beside=keys_of(config_name))
        exit_with(f"error: {told}", USER_ERROR_STATUS)
    except Stopped as stop:
        exit_with(f"stopped by {stop}: {stop.told}", 128 + stop.signum)
    except Exception as error:
        if (refused := explained(error)) is not None:
            exit_with(f"error: {refused}", USER_ERROR_STATUS)
        if running():
            raise
        # What a launcher hands the jobs to refuses them, as Slurm does a partition, or loses one of its workers.
        if command_line.raised_in(error, *LAUNCHING):
            told = command_line.one_line(error)
            exit_with(f"error: the launcher cannot run the jobs: {told}", USER_ERROR_STATUS)
        # Hydra's own checks of a command line end in any kind of exception.
        if not command_line.raised_in(error, "hydra", "omegaconf"):
            raise
        what = f"the command line cannot be followed: {command_line.one_line(error)}"
        exit_with(f"error: {what}; settings are key=value, groups key=name", USER_ERROR_STATUS)


def exit_with(message: str, status: int) -> NoReturn:
    """End the program with one line on standard error."""
    sys.stderr.write(f"{in_a_line(message)}\n")
    raise SystemExit(status)


def _without_word(arguments: list[str], word: str | None) -> list[str]:
    if word is None or "--hydra-help" in arguments:
        return arguments
    if arguments[:1] != [word]:
        given = f"not {arguments[0]}" if arguments else "nothing was given"
        raise UserError(f"the command is {word}, followed by key=value ..., {given}")
    return arguments[1:]


def _end(error: Exception) -> NoReturn:
    """One line and status 2 for bad input and for what the system refuses; a defect goes on as it is."""
    told: UserError | ResourceError | None = None
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, UserError):
        told = error.__cause__
    elif isinstance(error, UserError):
        told = error
    elif isinstance(error, MissingMandatoryValue):
        key = str(error).split("full_key: ")[-1].splitlines()[0] if "full_key" in str(error) else str(error)
        told = UserError(f"{key} is not set: give it on the command line as {key}=VALUE")
    elif isinstance(error, InterpolationResolutionError):
        told = UserError(command_line.one_line(error))
    else:
        told = explained(error)
    if told is None:
        raise error
    if in_sweep():
        # Hydra runs the other jobs before it reports it.
        log.error("%s", told)
        raise told
    exit_with(f"error: {told}", USER_ERROR_STATUS)


def _quiet_libraries() -> None:
    """Leave what our own log does not say better: warnings that a user can do nothing about, banners, tips."""
    # A full disk under standard output is no reason to end, nor for a traceback a line.
    logging.raiseExceptions = False
    warnings.filterwarnings("ignore", category=FutureWarning)
    for message in (
        ".*does not have many workers.*",
        ".*in eval mode at the start of training.*",
        ".*lr_scheduler.step.*",
        ".*IterableDataset.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        # Of a checkpoint that a version with other callbacks wrote: what of them counts is there.
        ".*callbacks used to create the checkpoint need to be provided.*",
        # diffusers' of huggingface_hub.
        ".*local_dir_use_symlinks.*",
        # Of what earlier layers made, when PyTorch looks at it to compile a layer of a training.
        "The .grad attribute of a Tensor that is not a leaf",
    ):
        warnings.filterwarnings("ignore", message=message)
    # The last says of a SIGTERM what our own line says better.
    for name in ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.signal_connector"):
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
    # Libraries read these when they are first imported, which a command does as late as it can.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Without a network each of its tries is two lines, twice; the error that comes of them says what to do.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in {"transformers", "diffusers"} & sys.modules.keys():
        sys.modules[f"{name}.utils.logging"].disable_progress_bar()
    if "transformers" in sys.modules:
        sys.modules["transformers.utils.logging"].set_verbosity_error()
