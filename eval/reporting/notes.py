"""What must be known of measured rows: printed below their table, each thing once."""

import re
from collections.abc import Callable, Sequence

from eval.metrics.registry import REGISTRY
from eval.reporting.results import Result, some_clips
from eval.scoring.protocol import shipped_protocol
from src.common.counting import counted
from src.common.paths import choices
from src.common.reading import read_yaml

# What the published rows rest on (Sec. 5.1).
PUBLISHED_SIZE, PUBLISHED_FRAMES = "512x512", 100


def incomparable(result: Result) -> list[str]:
    """Why a result may not be set against the paper's numbers; nothing where it may."""
    reasons = []
    if changed := result.protocol.differences(shipped_protocol("paper")):
        reasons.append(f"protocol {result.protocol.label()} is not the paper's ({'; '.join(changed[:3])})")
    if result.sizes != (PUBLISHED_SIZE,):
        reasons.append(f"frames of {', '.join(result.sizes) or 'unknown size'}, not {PUBLISHED_SIZE}")
    short = [clip for clip, values in result.clips.items() if values["frames"] != PUBLISHED_FRAMES]
    if short:
        reasons.append(f"{counted(len(short), 'subject')} with other than {PUBLISHED_FRAMES} frames")
    expected = published_clips(result.benchmark) if result.dataset is None else result.dataset.expected
    if expected is not None and len(result.clips) < expected:
        reasons.append(f"{len(result.clips)} of {counted(expected, 'subject')}")
    if result.stand_in is not None:
        reasons.append(f"{result.stand_in}: a stand-in")
    return reasons


def other_threshold(result: Result, metric: str) -> str | None:
    """Why a metric may not be set against the paper's number: other keypoints count as seen than as DWPose ships.

    None where nothing is known against it.
    """
    judge = result.metrics[metric].get("network") or {}
    said = re.search(r" confidence_threshold=(\S+)", str(judge.get("fingerprint")))
    if said is None:
        return None
    ships = read_yaml(choices("pose")["dwpose"])["confidence_threshold"]
    if said[1] == str(ships):
        return None
    return (
        f"keypoints count as seen from a confidence of {said[1]} on, not {ships}: not compared with the published row"
    )


def published_clips(benchmark: str) -> int | None:
    """Clips of a benchmark with published numbers; None of any other.

    >>> published_clips("tiktok"), published_clips("../tiktok")
    (10, None)
    """
    known = choices("dataset")
    published = read_yaml(known[benchmark]).get("num_published_clips") if benchmark in known else None
    return None if published is None else int(published)


def notes_of(results: Sequence[Result], *, published: bool) -> list[str]:
    """What must be known of the measured rows, each thing once with the rows that it holds for."""
    said: dict[str, list[Result]] = {}
    for result in results:
        noted = {name: entry["note"] for name, entry in result.metrics.items() if "note" in entry}
        texts = [f"{REGISTRY[name].title}: {note}" for name, note in noted.items()]
        texts += [f"{_title(name)} is missing: {reason}" for name, reason in result.missing.items()]
        of = {name: some_clips(result.clips, name) for name in result.metrics}
        texts += [f"{REGISTRY[name].title} is {clips}" for name, clips in of.items() if clips is not None]
        if result.warnings:
            first, *others = result.warnings
            texts.append(first + (f" (and {counted(len(others), 'warning')} more)" if others else ""))
        texts += circumstances(result)
        if published and (reasons := incomparable(result)):
            texts.append(f"not compared with the published row: {', '.join(reasons)}")
        if changes := result.protocol.changes():
            texts.append(f"protocol {result.protocol.name} was changed: {'; '.join(changes)}")
        for text in texts:
            said.setdefault(text, []).append(result)
    told = [f"{those(rows, results)}: {text}." for text, rows in said.items()]
    return [f"A{note[1:]}" if note.startswith("all measured rows") else note for note in told] + _unlike(results)


def those(rows: Sequence[Result], of: Sequence[Result]) -> str:
    """The labels of some of a table's rows, or that it is all of them."""
    return "all measured rows" if len(rows) == len(of) > 1 else _labels(rows)


def _title(name: str) -> str:
    return REGISTRY[name].title if name in REGISTRY else name


def said_of_stand_in(why: str) -> str:
    """Of weights that no published number is of."""
    return f"{why}: a stand-in, which reproduces no published number"


def short_stand_in(result: Result) -> str:
    """What a row from stand-in weights is marked with."""
    why = result.stand_in or ""
    return why if why.startswith("model=") else "stand-in weights"


def circumstances(result: Result) -> list[str]:
    """Of which subjects and frames a result is, and how these were made, where that is not as everybody expects."""
    return _partial(result) + _made(result)


def _made(result: Result) -> list[str]:
    """How the frames were made, where a row says it."""
    setup = result.setup
    if setup is None or setup.driven_by is None:
        return []
    size = ", ".join(setup.frames)
    brought = f", brought to {', '.join(result.sizes)} ({setup.resize})" if setup.resize is not None else ""
    texts = [f"driven by {setup.driven_by}, frames of {size}{brought}"]
    for what, sources in setup.sources.items():
        had = "; ".join(f"{source}: {count}" for source, count in sources.items())
        texts.append(f"{what} of {sum(sources.values())} of {counted(setup.subjects, 'subject')} ({had})")
    return texts


def _partial(result: Result) -> list[str]:
    """Subjects and held-out frames that were asked for and are not there."""
    if result.dataset is None:
        return []
    texts, asked = [], result.dataset.expected_frames
    if len(result.clips) < result.dataset.expected:
        texts.append(f"partial, {len(result.clips)} of {counted(result.dataset.expected, 'subject')}")
    short = [
        f"{clip} {int(values['frames'])}" for clip, values in result.clips.items() if values["frames"] < (asked or 0)
    ]
    if short:
        more = f" and {counted(len(short) - 3, 'subject')} more" if len(short) > 3 else ""
        texts.append(f"fewer held-out frames than the {asked} asked for: {', '.join(short[:3])}{more}")
    return texts


def _unlike(results: Sequence[Result]) -> list[str]:
    """Which rows rest on the same subjects, and on the same frames of these, where not all of them do."""
    texts = []
    by_subjects = grouped(results, lambda one, other: one.clips.keys() == other.clips.keys())
    if len(by_subjects) > 1:
        shared = set.intersection(*(set(result.clips) for result in results))
        groups = " against ".join(f"{_labels(part)} ({counted(len(part[0].clips), 'subject')})" for part in by_subjects)
        texts.append(
            f"Rows rest on different subjects ({len(shared)} in common): {groups}. Values compare within a group "
            "alone, differences are over those in common."
        )
    by_frames = grouped(results, lambda one, other: not _other_frames(one, other))
    if len(by_frames) > 1:
        clips = sorted({clip for one in results for other in results for clip in _other_frames(one, other)})
        more = f" and {len(clips) - 3} more" if len(clips) > 3 else ""
        texts.append(
            f"Rows rest on different test frames of {', '.join(clips[:3])}{more}: "
            f"{' against '.join(map(_labels, by_frames))}. Values compare within a group alone."
        )
    return texts


def grouped(results: Sequence[Result], alike: Callable[[Result, Result], bool]) -> list[list[Result]]:
    """The results in groups of those that are all alike, in their order."""
    parts: list[list[Result]] = []
    for result in results:
        part = next((part for part in parts if all(alike(result, peer) for peer in part)), None)
        if part is None:
            parts.append([result])
        else:
            part.append(result)
    return parts


def other_weights(result: Result, other: Result) -> list[str]:
    """Name and checksum of the first's networks of which the second has other weights; results of before say none."""
    found = []
    for name in result.metrics.keys() & other.metrics.keys():
        mine, theirs = (side.metrics[name].get("network") or {} for side in (result, other))
        sums = mine.get("sha256"), theirs.get("sha256")
        if mine.get("name") == theirs.get("name") and None not in sums and sums[0] != sums[1]:
            found.append(f"{mine['name']} ({str(sums[0])[:8]}…)")
    return sorted(set(found))


def _other_frames(one: Result, other: Result) -> list[str]:
    return [clip for clip in one.clips if clip in other.clips and not one.same_frames(other, clip)]


def _labels(results: Sequence[Result]) -> str:
    labels = [result.label for result in results]
    return ("; " if any("," in label for label in labels) else ", ").join(labels)
