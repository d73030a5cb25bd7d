"""A results card: one page of Markdown that says of one result all that a reader must know to trust or repeat it."""

import contextlib
import re
from collections.abc import Collection, Sequence
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
from src.common.digests import sha256
from src.common.files import read_record, write_json

LISTED = 8
# By path within the report the SHA-256 of each card that was written.
RECORD = ".cards.json"
_CARD = re.compile(r"cards/[A-Za-z0-9_-]+/\d{2,}_[A-Za-z0-9_-]+\.md")


def write_cards(results: Sequence[Result], labels: Sequence[str], folder: Path) -> list[Path]:
    """Write `<number>_<method>.md` of each result into the folder; their paths."""
    paths = []
    for number, (result, label) in enumerate(zip(results, labels, strict=True), 1):
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", result.label)[:60].strip("-") or "result"
        paths.append(folder / f"{number:02d}_{name}.md")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_text(card(result, label=label), "utf-8")
    return paths


def replace_cards(output: Path, written: Collection[Path]) -> None:
    """Remove the cards that the report before this one wrote into `output`, and record those that this one has.

    What no record lists is not ours, nor is a card that was changed since: both stay.

    Args:
        written: by `write_cards`, in folders of `output / "cards"`.
    """
    now = {path.relative_to(output).as_posix(): sha256(path) for path in written}
    for name, known in (read_record(output / RECORD) or {}).items():
        path = output / name
        # The record may come from anyone.
        if name in now or not _CARD.fullmatch(name) or path.is_symlink() or path.parent.is_symlink():
            continue
        if path.is_file() and sha256(path) == known:
            path.unlink()
            with contextlib.suppress(OSError):  # something else is in it
                path.parent.rmdir()
    write_json(output / RECORD, now)


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
