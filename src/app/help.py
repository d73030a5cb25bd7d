"""`--help` of a command: its settings and the groups that it composes, with the comments of `conf/`.

The files are shown as they are written, without composing them, so that help needs no choice of a group that has no
default.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from src.app.console import GROUP as COMMANDS
from src.common.paths import CONF_DIR
from src.common.reading import read_yaml

FLAGS = """\
Flags: -m sweeps over values with commas (key=a,b); --cfg job prints all settings as they are composed and stops;
--config-dir=FOLDER takes groups of yours as well; --hydra-help lists the rest."""
GROUPS = "Groups, of conf/<group>/: <group>=<choice> takes another, <group>.<key>=<value> changes a value."
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
    text = path.read_text("utf-8")
    sections = [_usage(module, word, positional), _summary(module), f"Settings, of conf/{path.name}:\n\n{_body(text)}"]
    chosen = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    groups = [_group(config_name, group, chosen.get(group, option)) for group, option in _groups(path)]
    if groups:
        sections += [GROUPS, *groups]
    return "\n\n".join(section.strip("\n") for section in [*sections, FLAGS] if section) + "\n"


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


def _group(config_name: str, group: str, option: Any) -> str:
    folders = [folder for folder in (CONF_DIR / group, CONF_DIR / config_name / group) if folder.is_dir()]
    files = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    choice = {None: "none", "null": "none", "???": "to be chosen"}.get(option, str(option))
    head = f"{group}: {', '.join(files)}\n  chosen: {choice}"
    if choice not in files:
        return head
    below = [name for name in _defaults(files[choice]) if isinstance(name, str) and name != "_self_"]
    head += f", on top of {', '.join(below)}" if below else ""
    lines = _body(files[choice].read_text("utf-8")).splitlines()
    return head + "\n\n" + "\n".join(f"    {line}".rstrip() for line in lines)
