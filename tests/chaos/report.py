"""What a campaign found: counts by kind, and every finding with what is needed to see it again."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

# Of the processes of a campaign; set by its commands, not where they are imported.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        part: of the campaign: `kills`, `inputs`, …
        what: what was done, in words and numbers, so that it can be done again.
        counts: how many of what it was: kills, signals, inputs, statuses.
        findings: what is wrong; empty where all is as promised.
    """

    part: str
    what: str
    counts: dict[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()

    def line(self) -> str:
        """As JSON, to come back from another process."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(line: str) -> "Case":
        values = json.loads(line)
        return Case(**values | {"findings": tuple(values["findings"])})


def summary(cases: Iterable[Case]) -> dict[str, Any]:
    """Counts by part, and the findings."""
    cases = list(cases)
    counts: dict[str, Counter] = {}
    for case in cases:
        counts.setdefault(case.part, Counter()).update({"cases": 1, **case.counts, "findings": len(case.findings)})
    found = [{"part": case.part, "what": case.what, "finding": text} for case in cases for text in case.findings]
    return {"counts": {part: dict(sorted(counter.items())) for part, counter in counts.items()}, "findings": found}
