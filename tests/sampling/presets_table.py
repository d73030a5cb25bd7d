"""Table and plot of what `measure_presets` wrote: `python -m tests.sampling.presets_table STUDY RECORDS PLOT.png`.

Markdown goes to standard output, a table for each guidance scale. Differences are paired, means over subjects with
their 95 % interval (`eval.reporting.intervals`); subjects weigh the same.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.reporting.intervals import Estimate, mean_estimate, paired_difference
from eval.reporting.pareto import Panel, Point, write_pareto
from tests.sampling.measure_presets import EXACT, read

REGIONS = ("frame", "face", "hands")
Made = Mapping[str, Mapping[str, dict[str, Any]]]  # records of one guidance scale, by variant and subject


def by_scale(path: Path, study: str) -> Mapping[float, Made]:
    """The whole records of a file."""
    found: dict[float, dict[str, dict[str, dict[str, Any]]]] = {}
    for (subject, scale), records in sorted(read(path, study).items()):
        for record in records:
            found.setdefault(scale, {}).setdefault(record["variant"], {})[subject] = record
    return found


def values(records: Mapping[str, dict[str, Any]], against: str, region: str) -> dict[str, float]:
    """PSNR by subject, of those that have one."""
    return {name: r[against][region] for name, r in records.items() if r[against] and r[against][region] is not None}


def difference(made: Made, variant: str, region: str) -> Estimate | None:
    """Of the PSNR to the truth, from the exact sampler's."""
    mine, exact = (values(made[name], "truth", region) for name in (variant, EXACT))
    return paired_difference(mine, exact, dict.fromkeys(mine, 1.0))


def seconds(records: Mapping[str, dict[str, Any]]) -> float:
    """CPU seconds a frame, mean over subjects."""
    return fmean(r["cpu_seconds"] / r["frames"] for r in records.values())


def markdown(scale: float, made: Made) -> str:
    """A row a variant: speed, PSNR to the truth against the exact sampler's, PSNR to the exact sampler."""
    head = ["variant", "steps", "speed", *(f"truth, {r} (dB)" for r in REGIONS), *(f"exact, {r} (dB)" for r in REGIONS)]
    lines = [f"Guidance {scale:g}, {len(made[EXACT])} subjects:", "", _row(head)]
    lines.append(_row(["---", *["---:"] * (len(head) - 1)]))
    for name in sorted(made, key=lambda name: -seconds(made[name])):
        steps, speed = next(iter(made[name].values()))["steps"], seconds(made[EXACT]) / seconds(made[name])
        truth, near = [], []
        for region in REGIONS:
            own, to_exact = values(made[name], "truth", region), values(made[name], "exact", region)
            estimate = mean_estimate(list(own.values()), [1.0] * len(own)) if name == EXACT else None
            truth.append(_text(estimate, "") if name == EXACT else _text(difference(made, name, region), "+"))
            near.append(f"{fmean(to_exact.values()):.1f}" if to_exact else "-")
        took = f"1 ({seconds(made[EXACT]):.2f} s)" if name == EXACT else f"{speed:.2f}"
        lines.append(_row([name, str(steps), took, *truth, *near]))
    return "\n".join(lines) + "\n"


def _text(estimate: Estimate | None, sign: str) -> str:
    if estimate is None:
        return "-"
    between = (
        "" if estimate.interval is None else f" [{estimate.interval[0]:{sign}.2f}, {estimate.interval[1]:{sign}.2f}]"
    )
    return f"{estimate.value:{sign}.2f}{between}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def panels(scales: Mapping[float, Made]) -> list[Panel]:
    """A row of panels for each region, a column for each guidance scale."""
    found = []
    for region in REGIONS:
        for scale, made in scales.items():
            told = {name: difference(made, name, region) for name in made}
            points = tuple(
                Point(name, seconds(made[name]), estimate.value, estimate.interval if name != EXACT else None)
                for name, estimate in told.items()
                if estimate is not None
            )
            found.append(Panel(f"{region}, guidance {scale:g}: PSNR over exact's, dB", points))
    return found


def main() -> None:
    """Print the tables and write the plot."""
    scales = by_scale(Path(sys.argv[2]), sys.argv[1])
    if not scales:
        sys.exit(f"{sys.argv[2]} holds no whole record")
    print("\n".join(markdown(scale, made) for scale, made in scales.items()), end="")
    write_pareto(panels(scales), Path(sys.argv[3]), seconds="CPU seconds a frame", columns=len(scales))


if __name__ == "__main__":
    main()
