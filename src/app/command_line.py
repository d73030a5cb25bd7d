"""The command line before Hydra reads it, and what Hydra says of it, in one line.

Hydra gives a meaning to brackets, commas, quotes, `=` and words such as `true`. A path or a prompt has none of that:
what the shell passes on is what is meant. Of paths there may be several, in a list or in a sweep.
"""

import difflib
import os
import re
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.errors import MissingConfigException, OverrideParseException

from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.common.raw import at_home
from src.common.typed import dotted_keys, raw_keys

_MULTIRUN = ("-m", "--multirun")
_SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|str)\(.*\)", re.DOTALL)


# Hydra's options that take the next word.
_TAKES_A_WORD = (
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
    "--cfg",
    "-c",
    "--package",
    "-p",
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_KEY = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@-]*=")


def with_keys(arguments: Sequence[str], positional: Sequence[str]) -> list[str]:
    """The arguments, with what stands there without a key given the keys in their order.

    A word is a value alone where it does not begin like `key=`, or where it names a file as it stands.

    Raises:
        UserError: more such words than keys.

    >>> with_keys(["a.mp4", "metrics=[psnr]", "b.mp4"], ["generated", "real"])
    ['generated=a.mp4', 'metrics=[psnr]', 'real=b.mp4']
    """
    out, left, before = [], list(positional), ""
    for argument in arguments:
        alone = not argument.startswith(("-", "~", "+")) and (not _KEY.match(argument) or _exists(argument))
        if positional and alone and before not in _TAKES_A_WORD:
            if not left:
                raise UserError(f"{argument} is one too many: the command takes {' '.join(positional)}, then key=value")
            argument = f"{left.pop(0)}={argument}"
        out.append(argument)
        before = argument
    return out


def prepared(arguments: Sequence[str], settings: type) -> list[str]:
    """The arguments with every value that is plain text quoted for Hydra, and `--config-path` made absolute.

    Args:
        settings: says which keys hold plain text (`raw_keys`).
    """
    raw, multirun = dict(raw_keys(settings)), any(argument in _MULTIRUN for argument in arguments)
    out, after = [], ""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if after in ("--config-path", "-cp"):
            # Hydra takes it as relative to the source file, which nobody would expect.
            out.append(os.path.abspath(at_home(argument)))
        elif key in ("--config-path", "-cp") and equals:
            out.append(f"{key}={os.path.abspath(at_home(value))}")
        elif equals and key.lstrip("+") in raw:
            quote = quoted if raw[key.lstrip("+")] else quoted_text
            out.append(f"{key}={quote(value, multirun=multirun)}")
        else:
            out.append(argument)
        after = argument
    return out


def as_given(overrides: Sequence[str], settings: type) -> list[str]:
    """The overrides of one run without the quotes of `prepared`, which puts the same ones back.

    Args:
        settings: as of `prepared`.
    """
    out = []
    for override in overrides:
        key, _, value = override.partition("=")
        inside = [_without_quotes(match[0]) for match in _QUOTED.finditer(value)]
        listed = value.startswith("[") and value.endswith("]")
        alone = f"{key}=[{','.join(inside)}]" if listed else f"{key}={''.join(inside)}"
        out.append(alone if inside and prepared([alone], settings) == [override] else override)
    return out


def check_flags(arguments: Sequence[str]) -> None:
    """Refuse flags of which Hydra would print its usage over many lines, and those that would run what is data.

    Args:
        arguments: as `prepared` returns them.

    Raises:
        UserError: a flag is none of Hydra's, or takes a run folder for configurations.
    """
    parser = get_args_parser()
    # Written out, so that no shorter form escapes what is looked for here and in `prepared`.
    parser.allow_abbrev = False
    parser.error = _refuse  # type: ignore[method-assign]
    flags = parser.parse_args(list(arguments))
    for flag in ("config_path", "config_dir"):
        if (folder := getattr(flags, flag)) is not None:
            _refuse_run_folder(f"--{flag.replace('_', '-')}", folder)


def check_groups(arguments: Sequence[str]) -> None:
    """Raise a UserError where several choices of a group are given, of which Hydra would mix the settings."""
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if choice.startswith("[") and (CONF_DIR / group.lstrip("+")).is_dir():
            raise UserError(
                f"{argument}: one choice is made of a group: give one name, or sweep over them, as -m {group}=NAME,NAME"
            )


def _refuse_run_folder(flag: str, folder: str) -> None:
    """Configurations may name code; those of a run folder are data."""
    from src.runs.run_folder import WRITTEN  # seconds of imports, for these flags

    if sum((Path(folder) / name).exists() for name in WRITTEN) > 1:
        raise UserError(f"{flag}={folder} is a run folder, whose files are data: repeat={folder} takes its settings")


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}: settings are given as key=value, without a dash; --help lists them and the flags")


def quoted(value: str, *, multirun: bool = False) -> str:
    """The name of a file, or several, as Hydra reads it back to the same text.

    What is quoted already, `null`, an interpolation and, unless a file has that name, a list in brackets stay; so do,
    in a multirun, the commas and functions that sweep.

    >>> quoted("clip (1).mp4"), quoted("null"), quoted("a.mp4,b.mp4", multirun=True)
    ("'clip (1).mp4'", 'null', "'a.mp4','b.mp4'")
    """
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not _exists(value):
        if value == "null" or value == "" or is_quoted or value.startswith("${"):
            return value
        if value[0] == "[" and value[-1] == "]":
            return _quoted_list(value)
        if multirun and _SWEEP_FUNCTION.fullmatch(value):
            return value
        if multirun and "," in value:
            return ",".join(quoted(part) for part in value.split(","))
    return _in_quotes(value)


def quoted_text(value: str, *, multirun: bool = False) -> str:
    """A prompt as Hydra reads it back to the same text; `null` stays, and in a multirun so does `choice(...)`.

    >>> quoted_text("a man, [red] hair", multirun=True), quoted_text("null")
    ("'a man, [red] hair'", 'null')
    """
    if value == "null" or (multirun and value.startswith("choice(") and value.endswith(")")):
        return value
    return _in_quotes(value)


def _in_quotes(value: str) -> str:
    # Hydra takes a backslash for an escape only before a quote, OmegaConf before what it would interpolate.
    text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    trailing = len(text) - len(text.rstrip("\\"))
    return f"'{text}{chr(92) * trailing}'"


def _without_quotes(text: str) -> str:
    """What `_in_quotes` was given."""
    inside = text[1:-1]
    trailing = len(inside) - len(inside.rstrip("\\"))
    inside = inside[: len(inside) - trailing // 2]
    return re.sub(r"(\\+)(?='|\$\{)", lambda match: match[1][: len(match[1]) // 2], inside)


def one_line(error: Exception, settings: type | None = None, *, beside: Collection[str] = ()) -> str:
    """What Hydra says of a command line that it cannot follow, without its search path and bookkeeping.

    Args:
        settings: of the command, of which a key that is unknown may have been meant; None: not known.
        beside: keys of the command that are none of its settings.
    """
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={name} is unknown (no {group}/{name}): choose one of {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return _unread(error.override)
    if alien := re.search(r"In '(\w+)/(\w+)': Could not override '(\w+)'", str(error)):
        group, name, other = alien.groups()
        return f"{group}={name} is not for this command: it comes with a choice of {other}, which is not made here"
    unknown = re.match(r"Could not override '([\w./]+)'", str(error))
    known = set() if settings is None else set(dotted_keys(settings))
    if unknown and unknown[1] not in known and (CONF_DIR / unknown[1]).is_dir():
        return f"{unknown[1]} is a group of other commands: --help lists those of this one"
    # What names code takes arguments that no dataclass knows, by Hydra's own `+`.
    if settings is not None and unknown and unknown[1].split(".")[0] not in ("logger", "hydra"):
        key = unknown[1]
        group = key.rpartition(".")[0]
        if key in known and group:
            return f"{key} is of {group}, of which nothing is chosen: give {group}=NAME as well; --help lists them"
        # One that the settings have and the command does not offer is no mistake in writing.
        close = difflib.get_close_matches(key, sorted(known | set(beside)), n=1) if key not in known else []
        return f"{key} is unknown: {f'did you mean {close[0]}?' if close else '--help lists the settings'}"
    if str(error).startswith("Config group override must be"):
        return "a group is no value: choose one of its names, such as logger=none"
    text = str(error).removeprefix("UserError raised while resolving interpolation: ")
    lines = [line.strip() for line in text.split("Config search path:")[0].splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


def _unread(override: str) -> str:
    """What to do about an argument that Hydra cannot read."""
    key, equals, _ = override.partition("=")
    if not equals:
        return f"{override} is no setting: settings are given as key=value; --help lists them"
    return (
        f"{override} cannot be read: close its brackets and quotes; a value with other signs than a name or a number "
        f"has goes into quotes that reach the program: \"{key}='VALUE'\""
    )


def raised_in(error: Exception, *packages: str) -> bool:
    """Whether an exception was raised by one of these packages themselves."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].partition(".")[0] in packages


def _quoted_list(value: str) -> str:
    parts = [part.strip() for part in value[1:-1].split(",")]
    return f"[{','.join(quoted(part) for part in parts if part)}]"


def _exists(value: str) -> bool:
    try:
        return bool(value) and Path(at_home(value)).exists()
    except (OSError, ValueError):
        return False
