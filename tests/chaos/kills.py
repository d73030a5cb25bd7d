"""Commands killed and stopped at random moments, again and again, until one of them is left alone to end."""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.chaos import folders, processes
from tests.chaos.processes import Ended, random_interrupt
from tests.chaos.report import Case
from tests.chaos.world import STAGES, World

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST_IN_A_ROW = 5


def chains(world: World, stages: list[str], count: int, seed: int, number: int, workers: int) -> Iterator[str]:
    """One process's share of `count` interruptions, in chains on one folder each.

    After every chain the command runs undisturbed, and must leave to the bit what it leaves where nothing came between.

    Yields:
        A `Case` as a line for each chain.
    """
    chance, done = random.Random(f"{seed} {number}"), 0
    # Slow commands get one chain where the others get four.
    weights = [1 if STAGES[stage].slow else 4 for stage in stages]
    share = count // workers + (number < count % workers)
    index = 0
    while done < share:
        stage = chance.choices(stages, weights)[0]
        length = min(chance.randint(1, MOST_IN_A_ROW), share - done)
        case = _chain(world, stage, length, chance, world.root / f"kill-{number}" / f"{index}-{stage}")
        yield case.line()
        done, index = done + length, index + 1


def _chain(world: World, stage: str, length: int, chance: random.Random, folder: Path) -> Case:
    folders.copy(world.before(stage), folder)
    command, undisturbed = STAGES[stage].command, world.undisturbed[stage]
    findings: list[str] = []
    counts: Counter = Counter({stage: length})
    said = []
    for _ in range(length):
        interrupt = random_interrupt(chance, undisturbed, _SIGNALS)
        # What a killed one left goes with the next one's first write, which a stopped one may not come to.
        before = set(folders.leftovers(folder))
        ended = processes.run(command, folder, interrupt=interrupt, seconds=600)
        name = signal.Signals(interrupt.signum).name
        counts[name] += 1
        at = f"event {interrupt.event}" if interrupt.event else f"{interrupt.seconds:.2f} s"
        said.append(f"{name} at {at}: {ended.status}")
        findings += [f"{said[-1]}: {what}" for what in _wrong(ended, interrupt.signum, folder, before)]
    ended = processes.run(command, folder, seconds=600, log="again")
    if ended.status:
        findings.append(f"does not go on, status {ended.status}: {ended.stderr[-1500:]}")
    elif differing := folders.difference(world.expected[stage], folders.content(folder)):
        findings.append(f"leaves something else: {', '.join(differing[:8])}")
    if left := folders.leftovers(folder):
        findings.append(f"leftovers: {', '.join(left[:5])}")
    if not findings:
        folders.remove(folder)
    return Case("kills", f"{stage} in {folder.name}: {'; '.join(said)}", dict(counts), tuple(findings))


def _wrong(ended: Ended, signum: int, folder: Path, before: set[str]) -> list[str]:
    """What is wrong with how an interrupted command ended; `before` it there were these leftovers."""
    if ended.status == -signal.SIGKILL and signum == signal.SIGKILL:
        return []
    wrong = []
    if ended.hung:
        wrong.append(f"hung: {ended.stderr[-3000:]}")
    elif ended.traceback:
        wrong.append(f"a traceback: {ended.stderr[-1500:]}")
    elif ended.status not in (0, 128 + signum):
        wrong.append(f"status {ended.status}, {ended.stderr[-500:]!r}")
    elif ended.status and f"stopped by {signal.Signals(signum).name}" not in ended.stderr:
        wrong.append(f"no word of it: {ended.stderr[-300:]!r}")
    if left := sorted(set(folders.leftovers(folder)) - before):
        wrong.append(f"leaves {left[:3]}")
    return wrong
