"""`posecrafter <command> …`: the same as `python -m <module> …`, from one table in `pyproject.toml`."""

import difflib
import sys
from importlib.metadata import EntryPoints, entry_points

from src.common.beginning import begin

GROUP = "posecrafter.commands"


def main() -> None:
    """Call the command that the first word names."""
    begin()
    commands = entry_points(group=GROUP)
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write(_usage(commands))
        return
    if name not in commands.names:
        close = difflib.get_close_matches(name, commands.names, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        known = ", ".join(sorted(commands.names))
        sys.stderr.write(f"error: posecrafter {name} is unknown: choose one of {known}{meant}\n")
        raise SystemExit(2)
    del sys.argv[1]
    commands[name].load()()


def _usage(commands: EntryPoints) -> str:
    longest = max((len(command.name) for command in commands), default=0)
    # Of a module's second command the function is called like the setting that it gives.
    beside = {command.name: "" if command.attr == "main" else f" {command.attr}=true" for command in commands}
    lines = [f"  posecrafter {each.name:{longest}} = python -m {each.module}{beside[each.name]}" for each in commands]
    return "\n".join(["usage: posecrafter <command> [key=value …]; posecrafter <command> --help", *lines]) + "\n"
