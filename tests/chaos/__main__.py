"""`python -m tests.chaos kills=500 inputs=2000 seed=1`: what breaks when commands are killed, starved and lied to.

Options, all as key=value: `kills`, `inputs`: how many; `seed`; `workers`: processes at once; `minutes`: after which no
case is begun; `hang`: seconds after which an input has hung, more where others use the machine; `stages`: names, comma
between; `parts`: of `kills,starved,inputs`; `folder`: where, which is emptied; `summary`: a JSON file.

Exit status 1 where anything was lost, differs, showed a traceback or hung.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.chaos.report import ENVIRONMENT, Case

DEFAULTS = {
    "kills": "500",
    "inputs": "2000",
    "seed": "0",
    "workers": "2",
    "minutes": "0",
    "hang": "60",
    "stages": "",
    "parts": "kills,starved,inputs",
    "folder": "",
    "summary": "chaos.json",
}


def options(arguments: list[str]) -> dict[str, str]:
    """The command line over the defaults; ends the program where it names anything else."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := sorted(given.keys() - DEFAULTS.keys()):
        raise SystemExit(f"error: {unknown[0]} is unknown: there are {', '.join(DEFAULTS)}")
    return DEFAULTS | given


def main() -> None:
    """Command line."""
    chosen = options(sys.argv[1:])
    os.environ |= ENVIRONMENT
    started = time.monotonic()
    # Seconds of imports that a misspelt option need not wait for.
    from tests.chaos import inputs, kills, processes, starved
    from tests.chaos.report import summary
    from tests.chaos.world import STAGES, World

    _say("importing the program")
    processes.warm_up()
    folder = Path(chosen["folder"] or tempfile.mkdtemp(prefix="chaos-")).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    stages = chosen["stages"].split(",") if chosen["stages"] else list(STAGES)
    world, parts = World(folder), chosen["parts"].split(",")
    _say(f"every stage once, undisturbed, in {folder}")
    world.build([*(stages if {"kills", "starved"} & set(parts) else ()), *(["report"] if "inputs" in parts else ())])
    seed, workers = int(chosen["seed"]), int(chosen["workers"])
    inputs.hang_seconds = int(chosen["hang"])
    work = {
        "kills": partial(kills.chains, world, stages, int(chosen["kills"]), seed),
        "starved": partial(starved.cases, world, stages, seed),
        "inputs": partial(inputs.cases, world, int(chosen["inputs"]), seed),
    }
    if "inputs" in parts:
        processes.isolated(lambda: inputs.make_extras(world))
        inputs.complete_extras(world)
    cases: list[Case] = []
    end = started + 60 * float(chosen["minutes"]) if float(chosen["minutes"]) else math.inf
    for part in parts:
        _say(part)
        run = work[part]
        lines, broken = processes.in_processes(lambda number, run=run: _until(end, run(number, workers)), workers)
        cases += map(Case.of, lines)
        if broken:
            cases.append(
                Case(part, "the campaign itself", {}, (f"{broken} of its processes did not come to their end",))
            )
        _say(json.dumps(summary(cases)["counts"].get(part, {})))
    found = summary(cases) | {"options": chosen, "seconds": round(time.monotonic() - started)}
    Path(chosen["summary"]).write_text(json.dumps(found, indent=2) + "\n")
    _say(json.dumps(found["counts"], indent=2))
    if found["findings"]:
        raise SystemExit(f"{len(found['findings'])} findings; see {chosen['summary']} and {folder}")
    shutil.rmtree(folder)


def _until(end: float, lines: Iterator[str]) -> Iterator[str]:
    """The lines of the cases that were begun before `end`; what they found is said at once."""
    for line in lines:
        case = Case.of(line)
        for finding in case.findings:
            _say(f"FOUND {case.part}: {case.what}\n    {finding}")
        yield line
        if time.monotonic() > end:
            return


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
