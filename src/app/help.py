"""`--help` of a command: its settings and the groups that it composes, with the comments of `conf/`.

The files are shown as they are written, without composing them, so that help needs no choice of a group that has no
default; their comments are fitted into the terminal.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from src.app.console import GROUP as COMMANDS
from src.common.paths import CONF_DIR
from src.common.reading import read_yaml

FLAGS = """\
Flags: -m sweeps over values with commas (key=a,b); --cfg job prints all settings as they are composed and stops;
--config-dir=FOLDER takes groups of yours as well; --hydra-help lists the rest."""
GROUPS = """\
Groups, of conf/<group>/: <group>=<choice> takes another, with --help shows it; <group>.<key>=<value> changes a
value."""
_COMMENT = re.compile(r"(?:.*? )?# ")
_BLOCK = re.compile(r"^(defaults|hydra):.*\n(?:(?:[ \t-].*)?\n)*", re.MULTILINE)


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether the command is asked what it is, and not told what to do."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def help_text(
    config_name: str, module: str, *, word: str | None, positional: Sequence[str], arguments: Sequence[str]
) -> str:
    """Usage, what the command does, its settings, its groups.

    Args:
        config_name: of `conf/<config_name>.yaml`.
        module: that holds the command's `main`.
        word, positional: as of `entry`.
        arguments: of the command line; groups that they choose are shown in place of the defaults.
    """
    path = CONF_DIR / f"{config_name}.yaml"
    width = shutil.get_terminal_size().columns
    settings = _fitted(_body(path.read_text("utf-8")), width)
    sections = [_usage(module, word, positional), textwrap.fill(_summary(module), width, break_on_hyphens=False)]
    sections += [f"Settings, of conf/{path.name}:\n\n{settings}"]
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    choices = _choices(config_name, given)
    groups = [_group(config_name, group, default, choices[group], width) for group, default in _groups(path)]
    if groups:
        sections += [textwrap.fill(GROUPS, width), *groups]
    sections += [textwrap.fill(FLAGS, width, break_on_hyphens=False)]
    return "\n\n".join(section.strip("\n") for section in sections if section) + "\n"


def keys_of(config_name: str) -> set[str]:
    """The settings and groups of `conf/<config_name>.yaml`, but for what lies within them."""
    path = CONF_DIR / f"{config_name}.yaml"
    return {*read_yaml(path), *(group for group, _ in _groups(path))} - {"defaults", "hydra"}


def _usage(module: str, word: str | None, positional: Sequence[str]) -> str:
    file = sys.modules[module].__file__
    assert file is not None
    name = ".".join(Path(file).resolve().relative_to(CONF_DIR.parent).with_suffix("").parts)
    words = " ".join([*([word] if word else []), *(key.upper() for key in positional), "[key=value …]"])
    # None where it is run from a clone that nobody installed.
    short = [each.name for each in entry_points(group=COMMANDS) if each.value == f"{name}:main"]
    ways = [*(f"posecrafter {command}" for command in short), f"python -m {name}"]
    return "usage: " + "\n   or: ".join(f"{way} {words}" for way in ways)


def _summary(module: str) -> str:
    """The first paragraph of the module's docstring, which names the command as code."""
    return (sys.modules[module].__doc__ or "").strip().split("\n\n")[0].replace("`", "")


def _body(text: str) -> str:
    """A file of `conf/` without what only composes it."""
    return _BLOCK.sub("", text).replace("# @package _global_\n", "").strip("\n")


def _defaults(path: Path) -> list[Any]:
    """The defaults list of a file, which may hold comments alone."""
    return (read_yaml(path) or {}).get("defaults", [])


def _groups(path: Path) -> Iterator[tuple[str, Any]]:
    """Groups of a file's defaults, and the choice of each; None: none."""
    for default in _defaults(path):
        if isinstance(default, dict):
            [(group, option)] = default.items()
            if not group.startswith("override ") and "${" not in str(option):
                yield group.removeprefix("optional "), option


def _files(config_name: str, group: str) -> dict[str, Path]:
    """The choices of a group, which may be of one command alone."""
    folders = [folder for folder in (CONF_DIR / group, CONF_DIR / config_name / group) if folder.is_dir()]
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def _choices(config_name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """What is chosen of each group: what is given, what another choice brings with it, or the default."""
    defaults = dict(_groups(CONF_DIR / f"{config_name}.yaml"))
    choices = {**defaults, **given}
    for _ in defaults:  # what is brought may bring more
        chosen = [_files(config_name, group).get(choices[group]) for group in defaults]
        brought = dict(pair for file in chosen if file is not None for pair in _brought(file))
        before, choices = choices, {**defaults, **brought, **given}
        if choices == before:
            break
    return choices


def _brought(file: Path) -> Iterator[tuple[str, Any]]:
    """Groups of which a file takes another choice than the command, and that choice."""
    for default in _defaults(file):
        if isinstance(default, dict):
            [(group, option)] = default.items()
            if group.startswith("override /"):
                yield group.removeprefix("override /"), option


def _group(config_name: str, group: str, default: Any, option: Any, width: int) -> str:
    files = _files(config_name, group)
    choice = {None: "none", "null": "none", "???": "to be chosen"}.get(option, str(option))
    head = textwrap.fill(f"{group}: {', '.join(files)}", width, subsequent_indent="  ")
    head += f"\n  chosen: {choice}"
    shown = [*_stack(files, choice, default)][::-1]
    head += f", on top of {', '.join(shown[1:])}" if shown[1:] else ""
    bodies = [_fitted(textwrap.indent(_body(files[name].read_text("utf-8")), "    "), width) for name in shown]
    below = [f"  {name}:\n\n{body}" for name, body in zip(shown[1:], bodies[1:], strict=True)]
    return "\n\n".join([head, *bodies[:1], *below])


def _stack(files: Mapping[str, Path], choice: str, default: Any) -> Iterator[str]:
    """A choice after those that it stands on; what is `as_in_run` is, where there is no run, as the default has it."""
    if choice not in files:
        return
    for below in _defaults(files[choice]):
        if isinstance(below, str) and below != "_self_":
            yield from _stack(files, below, default) if below in files else _stack(files, str(default), None)
    yield choice


def _fitted(text: str, width: int) -> str:
    """Lines of a file whose comments go on in the next line, in the same column, where they are too long."""
    out: list[str] = []
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        before = _COMMENT.match(line)
        if before is None or len(line) <= width:
            out.append(line)
            continue
        column = " " * (before.end() - 2) + "# "
        words = line[before.end() :]
        # Of a comment beside a value the next lines are the same sentence.
        while before[0].strip() != "#" and lines and lines[0].startswith(column):
            words += " " + lines.pop(0).removeprefix(column)
        room = max(width, len(column) + 24)
        out += textwrap.wrap(
            *(words, room),
            initial_indent=before[0],
            subsequent_indent=column,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(out)
