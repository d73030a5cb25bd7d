"""A results card: one page of Markdown that says of one result all that a reader must know to trust or repeat it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.metrics.frechet_interval import MIN_SUBJECTS
from eval.metrics.registry import REGISTRY
from eval.reporting.notes import circumstances, said_of_stand_in
from eval.reporting.results import Result
from eval.reporting.templates import render
from eval.reporting.writers import format_interval, format_value, one_line
from src.common.atomic import atomic_path
from src.common.counting import counted

LISTED = 8


def write_cards(results: Sequence[Result], labels: Sequence[str], folder: Path) -> list[Path]:
    """Write `<number>_<method>.md` of each result into the folder; their paths."""
    paths = []
    for number, (result, label) in enumerate(zip(results, labels, strict=True), 1):
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", result.label)[:60].strip("-") or "result"
        paths.append(folder / f"{number:02d}_{name}.md")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_text(card(result, label=label), "utf-8")
    return paths


def card(result: Result, *, label: str) -> str:
    """The page.

    Args:
        label: of the result, in tables.
    """
    values = {
        "label": label,
        "result": result,
        "protocol": result.protocol.label(),
        "changes": result.protocol.changes(),
        "circumstances": [*([said_of_stand_in(result.stand_in)] if result.stand_in else []), *circumstances(result)],
        "frames": sum(int(clip["frames"]) for clip in result.clips.values()),
        "rows": [_row(result, name) for name in REGISTRY if name in result.metrics],
        "missing": [(REGISTRY[name].title, reason) for name, reason in result.missing.items() if name in REGISTRY],
        "min_subjects": MIN_SUBJECTS,
        "listed": LISTED,
        "bibtex": BIBTEX,
        "registry": REGISTRY,
        "counted": counted,
    }
    return render(Path(__file__).parent / "card.md.j2", values, filters={"line": one_line})


def _row(result: Result, name: str) -> dict[str, Any]:
    entry, spec = result.metrics[name], REGISTRY[name]
    interval, network = result.interval(name), entry.get("network") or {}
    counts = [counted(entry[key], word) for key, word in (("frames", "frame"), ("clips", "window")) if key in entry]
    counts += [f"{entry['seen']:.0%} {spec.seen}"] if "seen" in entry and spec.seen else []
    checksum = str(network["sha256"])[:12] if "sha256" in network else str(network.get("fingerprint", ""))
    return {
        "heading": spec.heading,
        "value": format_value(name, entry["value"]),
        "interval": "-" if interval is None else format_interval(name, interval),
        "counts": ", ".join(counts),
        "network": f"{network['name']} {checksum}".strip() if "name" in network else "-",
        "note": entry.get("note"),
    }


BIBTEX = """@inproceedings{zhong2024posecrafter,
  title = {{PoseCrafter}: One-Shot Personalized Video Synthesis Following Flexible Pose Control},
  author = {Zhong, Yong and Zhao, Min and You, Zebin and Yu, Xiaofeng and Zhang, Changwang and Li, Chongxuan},
  booktitle = {ECCV},
  year = {2024}
}"""
