"""A leaderboard that is files: what a submission is, what is checked of it, and the page of all; see LEADERBOARD.md.

A submission comes from anybody: it is data, its paths are never opened, and its numbers are computed again from those
of its clips as far as they allow it.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema

from eval.metrics.registry import REGISTRY
from eval.reporting.results import UNNAMED, Result, load_results
from eval.scoring.protocol import shipped_protocols
from src.common.counting import counted
from src.common.errors import UserError
from src.common.files import write_json
from src.common.reading import read_json
from src.common.typed import check_choice, plain, typed
from src.common.writers import refuse_links

BOARD, SUBMISSION, RESULT = "board.json", "submission.json", "result.json"
SCHEMA = Path(__file__).parents[1] / "scoring" / "result.schema.json"
# What another order of summation may change.
TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class BoardClip:
    """A clip that everybody generates: its number of frames and the SHA-256 of the true ones.

    Attributes:
        reference_sha256, poses_sha256: of the reference image and of the true poses, where a metric of the board is
            measured by them; None: none is, or the board is of before they were kept.
    """

    frames: int
    real_sha256: str
    reference_sha256: str | None = None
    poses_sha256: str | None = None


# What metrics are measured by beside the true frames: its key in a manifest and on a board, its name, and of which.
_BESIDE = (
    ("reference_sha256", "reference image", lambda spec: spec.needs_reference),
    ("poses_sha256", "true poses", lambda spec: spec.needs_poses),
)


@dataclass(frozen=True, kw_only=True)
class Board:
    """What the submissions of one board have in common: `board.json`.

    Attributes:
        protocol: a name in `conf/protocol`, unchanged.
        metrics: those that every submission has.
        networks: by metric, the SHA-256 of what judges it; nothing of one that no network judges.
    """

    benchmark: str
    protocol: str
    sizes: tuple[str, ...]
    metrics: tuple[str, ...]
    clips: dict[str, BoardClip]
    networks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("protocol", self.protocol, shipped_protocols())


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Who made it and how: `submission.json`.

    Attributes:
        num_frames: training frames of a person; None: not of that kind.
        command: how to repeat it.
    """

    method: str
    authors: tuple[str, ...]
    url: str
    hardware: str
    command: str
    bibtex: str
    num_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("method", "url", "hardware", "command", "bibtex"):
            if not getattr(self, name).strip():
                raise UserError(f"{name} is empty: say it in one line")
        if not self.authors:
            raise UserError("authors is empty: name at least one")
        if not self.url.startswith(("https://", "http://")):
            raise UserError(f"url={self.url} is no address: give one that begins with https://")


def new_board(folder: Path, result: Path) -> Board:
    """Write `board.json` as a result asks for it: its benchmark (else the folder's name), protocol, clips, metrics and
    networks.

    Raises:
        UserError: there is a board, the result has a changed protocol, or it was not scored against true frames.
    """
    if (folder / BOARD).exists():
        raise UserError(f"{folder / BOARD} is there: its submissions rest on it; choose another folder")
    _check_schema(result)
    (found,) = load_results([result])
    if found.protocol.label() != found.protocol.name:
        raise UserError(f"{result}: protocol {found.protocol.label()} is none of ours: score with one that ships")
    if without := [name for name, entry in found.inputs.items() if "real_sha256" not in entry]:
        raise UserError(f"{result}: {without[0]} was scored without true frames: give real=")
    kept = ["frames", "real_sha256", *(key for key, _, _ in _measured_by(found.metrics))]
    clips = {name: typed(BoardClip, {key: of[key] for key in kept if key in of}) for name, of in found.inputs.items()}
    networks = {name: network for name in found.metrics if (network := _network(found, name)) is not None}
    board = Board(
        benchmark=folder.resolve().name if found.benchmark == UNNAMED else found.benchmark,
        protocol=found.protocol.name,
        sizes=found.sizes,
        metrics=tuple(found.metrics),
        clips=clips,
        networks=networks,
    )
    tied = {name: {key: of for key, of in vars(clip).items() if of is not None} for name, clip in clips.items()}
    write_json(folder / BOARD, plain(board) | {"clips": tied})
    return board


def read_board(folder: Path) -> Board:
    """The board of a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / BOARD
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {BOARD}: name the folder of a board, or begin one with "
            "posecrafter leaderboard FOLDER start_from=<result.json>"
        )
    refuse_links(folder, [BOARD], instead="put the file there")
    try:
        return typed(Board, read_json(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def untied(board: Board) -> str | None:
    """In a line, which metrics of a board rest on what it does not tie, as one of before; None: there is none."""
    loose = [
        f"{names} by any {what} ({_some(clips)})"
        for key, what, names in _measured_by(board.metrics)
        if (clips := {name for name, clip in board.clips.items() if getattr(clip, key) is None})
    ]
    return f"{BOARD} has no SHA-256 for it, and takes {'; '.join(loose)}" if loose else None


def submissions(folder: Path) -> list[Path]:
    """The folders of a board, one a submission, by name; a `UserError` where there is none."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise UserError(f"{folder} has no submission: a folder each, see eval/benchmark/LEADERBOARD.md")
    return found


def read_submission(folder: Path, board: Board) -> tuple[Submission, Result]:
    """A submission that matches its board.

    Raises:
        UserError: names everything that does not match, in one line.
    """
    for name in (SUBMISSION, RESULT):
        # It may be a link to what its author may not read, and the page is published.
        refuse_links(folder.parent, [Path(folder.name, name)], instead="put the file there")
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}: see eval/benchmark/LEADERBOARD.md")
    try:
        submission = typed(Submission, read_json(folder / SUBMISSION))
    except UserError as error:
        raise UserError(f"{folder / SUBMISSION}: {error}") from error
    _check_schema(folder / RESULT)
    (result,) = load_results([folder / RESULT])
    if wrong := list(_mismatches(result, board)):
        raise UserError(f"{folder.name}: {'; '.join(wrong)}")
    named = replace(result, method=submission.method, num_frames=submission.num_frames, variant=None)
    # What the board does not ask for is nobody's business: it may be of other networks than another submission's.
    asked = {"frames", *board.metrics}
    clips = {clip: {name: own[name] for name in own if name in asked} for clip, own in result.clips.items()}
    named = replace(named, metrics={name: result.metrics[name] for name in board.metrics}, missing={}, clips=clips)
    return submission, replace(named, files={}, benchmark=board.benchmark)  # theirs are not opened here


def _check_schema(path: Path) -> None:
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    # The first alone: each takes 10 KB, and a file can hold a million.
    if (first := next(schema.iter_errors(read_json(path)), None)) is not None:
        raise UserError(f"{path}: {'.'.join(map(str, first.path)) or 'the result'}: {first.message}")


def _mismatches(result: Result, board: Board) -> Iterator[str]:
    """In what a result departs from its board, or from itself."""
    if result.protocol.name != board.protocol or result.protocol.changes():
        changes = "; ".join(result.protocol.changes()[:3])
        yield f"protocol {result.protocol.label()}, not {board.protocol}{f' ({changes})' if changes else ''}"
    if result.sizes != board.sizes:
        yield f"frames of {', '.join(result.sizes)}, not {', '.join(board.sizes)}"
    if set(result.inputs) != set(board.clips) or set(result.clips) != set(board.clips):
        lacking, extra = set(board.clips) - set(result.clips), set(result.clips) - set(board.clips)
        yield f"clips that lack: {_some(lacking)}; that the board does not have: {_some(extra)}"
        return
    for name, clip in board.clips.items():
        given = result.inputs[name]
        if given.get("real_sha256") != clip.real_sha256 or int(given["frames"]) != clip.frames:
            yield f"{name} was scored against other frames than the board's"
        elif result.clips[name]["frames"] != clip.frames:
            there = counted(int(result.clips[name]["frames"]), "frame")
            yield f"{name} has {there} in clips and {clip.frames} in inputs"
    yield from _measured_otherwise(result, board)
    for metric in board.metrics:
        if metric not in result.metrics:
            yield f"{metric} lacks: {result.missing.get(metric, 'not scored')}"
        elif board.networks.get(metric) != (network := _network(result, metric)):
            yield f"{metric} was judged by another network ({network})"
        elif not (REGISTRY[metric].of_all_clips or any(metric in clip for clip in result.clips.values())):
            yield f"{metric} has no value of any clip, without which it cannot be checked"
    frames = sum(clip.frames for clip in board.clips.values())
    for metric, entry in result.metrics.items():
        # Of what not each frame has a value, a result does not say which have.
        if entry["frames"] > frames or (entry["frames"] != frames and REGISTRY[metric].weighs != "some"):
            yield f"{metric} is said to be of {counted(entry['frames'], 'frame')}, of which the clips have {frames}"
        scored = [name for name, clip in result.clips.items() if metric in clip]
        if unweighted := [name for name in scored if metric not in result.weights.get(name, {})]:
            yield f"{metric} of {_some(set(unweighted))} has no weight, without which its value cannot be checked"
            continue
        if wrong := {name for name in scored if not _may_weigh(result, metric, name)}:
            yield f"{metric} of {_some(wrong)} weighs what none of its frames does"
            continue
        # Where nobody is found, or a region is not shown, a clip has no value of its own; else it has.
        some = REGISTRY[metric].seen is not None or REGISTRY[metric].needs_poses
        if scored and not some and (lost := set(result.clips) - set(scored)):
            yield f"{metric} has no value of {_some(lost)}"
            continue
        value, pooled = entry["value"], _pooled(result, metric)
        if pooled is not None and not math.isclose(value, pooled, rel_tol=TOLERANCE, abs_tol=TOLERANCE**2):
            yield f"{metric} is {value:.6g}, but its clips give {pooled:.6g}"


def _measured_by(metrics: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What some of the metrics are measured by beside the true frames: its key, its name, and which these are."""
    for key, what, of in _BESIDE:
        if names := [name for name in metrics if name in REGISTRY and of(REGISTRY[name])]:
            yield key, what, ", ".join(names)


def _measured_otherwise(result: Result, board: Board) -> Iterator[str]:
    """The metrics of a result that were measured by another reference or other poses than the board's."""
    for key, what, names in _measured_by(board.metrics):
        tied = {name: own for name, clip in board.clips.items() if (own := getattr(clip, key)) is not None}
        given = {name: result.inputs[name].get(key) for name in tied}
        if unsaid := {name for name in tied if given[name] is None}:
            yield f"{names} of {_some(unsaid)}: inputs does not say the {what} that it was measured by ({key})"
        if wrong := {name for name in tied if given[name] not in (None, tied[name])}:
            yield f"{names} of {_some(wrong)}: the {what} it was measured by is not the board's"


def _may_weigh(result: Result, metric: str, clip: str) -> bool:
    """Whether a clip's weight can be; which frames have a value, where not each has one, a result does not say."""
    weight, own, spec = result.weights[clip][metric], result.clips[clip], REGISTRY[metric]
    if result.protocol.pooling == "videos" or spec.weighs == "videos":
        return weight == 1
    if spec.weighs == "frames":
        return weight == own["frames"]
    # A value that is infinite is one of no frame.
    least = 1 if math.isfinite(own[metric]) else 0
    return least <= weight <= spec.values_a_frame * own["frames"] and weight == int(weight)


def _pooled(result: Result, metric: str) -> float | None:
    """A mean metric's value as its clips give it, each with its weight; None where it is no mean over clips."""
    own: Mapping[str, float] = {name: clip[metric] for name, clip in result.clips.items() if metric in clip}
    if not own:
        return None
    finite = [(result.weights[name][metric], value) for name, value in own.items() if math.isfinite(value)]
    total = sum(weight for weight, _ in finite)
    return sum(weight * value for weight, value in finite) / total if total else math.inf


def _network(result: Result, metric: str) -> str | None:
    network: Any = result.metrics[metric].get("network")
    return None if not isinstance(network, Mapping) else str(network.get("sha256") or network.get("fingerprint"))


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return (", ".join(shown) or "none") + (f" and {len(names) - 3} more" if len(names) > 3 else "")
