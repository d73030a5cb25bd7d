"""What must be known of measured rows: printed below their table, each thing once."""

from collections.abc import Sequence

from eval.metrics.registry import REGISTRY
from eval.reporting.results import Result
from eval.scoring.protocol import PROTOCOLS, Protocol
from src.common.paths import CONF_DIR
from src.common.reading import read_yaml
from src.common.typed import typed

# What the published rows rest on (Sec. 5.1).
PUBLISHED_SIZE, PUBLISHED_FRAMES = "512x512", 100


def incomparable(result: Result) -> list[str]:
    """Why a result may not be set against the paper's numbers; nothing where it may."""
    reasons = []
    paper = typed(Protocol, read_yaml(PROTOCOLS / "paper.yaml"), "protocol")
    if changed := result.protocol.differences(paper):
        reasons.append(f"protocol {result.protocol.label()} is not the paper's ({'; '.join(changed[:3])})")
    if result.sizes != (PUBLISHED_SIZE,):
        reasons.append(f"frames of {', '.join(result.sizes) or 'unknown size'}, not {PUBLISHED_SIZE}")
    short = [clip for clip, values in result.clips.items() if values["frames"] != PUBLISHED_FRAMES]
    if short:
        reasons.append(f"{len(short)} subjects with other than {PUBLISHED_FRAMES} frames")
    expected = published_clips(result.benchmark) if result.dataset is None else result.dataset.expected
    if expected is not None and len(result.clips) < expected:
        reasons.append(f"{len(result.clips)} of {expected} subjects")
    if result.stand_in is not None:
        reasons.append(f"{result.stand_in}: a stand-in")
    return reasons


def published_clips(benchmark: str) -> int | None:
    """Clips of a benchmark with published numbers; None of any other.

    >>> published_clips("tiktok"), published_clips("../tiktok")
    (10, None)
    """
    known = {path.stem: path for path in (CONF_DIR / "dataset").glob("*.yaml")}
    published = read_yaml(known[benchmark]).get("num_published_clips") if benchmark in known else None
    return None if published is None else int(published)


def notes_of(results: Sequence[Result], *, published: bool) -> list[str]:
    """What must be known of the measured rows, each thing once with the rows that it holds for."""
    said: dict[str, list[str]] = {}
    for result in results:
        noted = {name: entry["note"] for name, entry in result.metrics.items() if "note" in entry}
        texts = [f"{REGISTRY[name].title}: {note}" for name, note in noted.items()]
        texts += [f"{_title(name)} is missing: {reason}" for name, reason in result.missing.items()]
        if result.warnings:
            first, *others = result.warnings
            texts.append(first + (f" (and {len(others)} warnings more)" if others else ""))
        texts += _partial(result) + _made(result)
        if published and (reasons := incomparable(result)):
            texts.append(f"not compared with the published row: {', '.join(reasons)}")
        if changes := result.protocol.changes():
            texts.append(f"protocol {result.protocol.name} was changed: {'; '.join(changes)}")
        for text in texts:
            said.setdefault(text, []).append(result.label)
    return [f"{', '.join(labels)}: {text}." for text, labels in said.items()] + _unlike(results)


def _title(name: str) -> str:
    return REGISTRY[name].title if name in REGISTRY else name


def short_stand_in(result: Result) -> str:
    """What a row from stand-in weights is marked with."""
    why = result.stand_in or ""
    return why if why.startswith("model=") else "stand-in weights"


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
        texts.append(f"{what} of {sum(sources.values())} of {setup.subjects} subjects ({had})")
    return texts


def _partial(result: Result) -> list[str]:
    """Subjects and held-out frames that were asked for and are not there."""
    if result.dataset is None:
        return []
    texts, asked = [], result.dataset.expected_frames
    if len(result.clips) < result.dataset.expected:
        texts.append(f"partial, {len(result.clips)} of {result.dataset.expected} subjects")
    short = [
        f"{clip} {int(values['frames'])}" for clip, values in result.clips.items() if values["frames"] < (asked or 0)
    ]
    if short:
        more = f" and {len(short) - 3} subjects more" if len(short) > 3 else ""
        texts.append(f"fewer held-out frames than the {asked} asked for: {', '.join(short[:3])}{more}")
    return texts


def _unlike(results: Sequence[Result]) -> list[str]:
    """Rows that rest on other subjects, or on other frames of the same ones, than the first."""
    if len(results) < 2:
        return []
    first, texts = results[0], []
    for result in results[1:]:
        if set(result.clips) != set(first.clips):
            shared = len(set(result.clips) & set(first.clips))
            texts.append(
                f"{result.label} and {first.label} rest on different subjects ({shared} in common): their values do "
                "not compare, differences are over those in common."
            )
        if other := [clip for clip in result.clips if clip in first.clips and not result.same_frames(first, clip)]:
            texts.append(
                f"{result.label} and {first.label} rest on different test frames of {', '.join(other[:3])}"
                f"{f' and {len(other) - 3} more' if len(other) > 3 else ''}: their values do not compare."
            )
    return texts
