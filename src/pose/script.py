"""Pose scripts: keyframed edits of one pose, written in YAML.

    frames: 8                 # length of the result
    frame: null               # start pose, an index of the training frames; null: where the script moves most
    edits:                    # applied in this order, to every frame
      - {edit: blink, side: right, keys: {0: 0, 7: 1}, easing: smooth}

`keys` holds the amount of an edit at some frames (one number: at all of them); `easing` says how it goes from one key
to the next. With `period`, in frames, the amount swings as a sine of that amplitude, beginning at the first key.

Dimensions: F frames.
"""

import bisect
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from src.common.counting import counted
from src.common.errors import UserError, in_one_line
from src.common.reading import read_yaml
from src.pose import edit
from src.pose.edit import Puppet
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".yaml", ".yml"})
EDITS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        *(edit.blink, edit.open_mouth, edit.smile, edit.turn_head, edit.tilt_head, edit.nod),
        *(edit.raise_arm, edit.bend_arm, edit.pose_arm, edit.sway, edit.walk, edit.translate, edit.zoom),
    )
}
EASINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),
    "ease_in": lambda t: t * t,
    "ease_out": lambda t: t * (2 - t),
    "hold": lambda t: 0.0,
}
MAX_FRAMES = 10_000
MAX_EDITS = 64
# Of degrees, of shares and of units of the frame alike; and how far from the frame an edit may take a point.
MAX_AMOUNT = 1e4


@dataclass(frozen=True)
class KeyedEdit:
    """One edit over time.

    Attributes:
        name: of `EDITS`.
        keys: amount at some frames, in the order of time; constant before the first and after the last.
        easing: of `EASINGS`.
        period: of the swing in frames; None: no swing.
        options: further arguments of the edit.
    """

    name: str
    keys: Mapping[int, float]
    easing: str
    period: float | None
    options: Mapping[str, Any]

    def amount(self, frame: int) -> float:
        """The edit's amount at a frame."""
        times = list(self.keys)
        last = bisect.bisect_right(times, frame) - 1
        value = self.keys[times[max(last, 0)]]
        if 0 <= last < len(times) - 1:
            start, end = times[last], times[last + 1]
            eased = EASINGS[self.easing]((frame - start) / (end - start))
            value += eased * (self.keys[end] - value)
        if self.period is not None:
            value *= float(np.sin(2 * np.pi * max(frame - times[0], 0) / self.period))
        return value

    def apply(self, puppet: Puppet, frame: int) -> None:
        """Edit a pose as it is to be at a frame.

        Raises:
            UserError: keypoints that the edit needs are not seen.
        """
        EDITS[self.name](puppet, self.amount(frame), **self.options)


@dataclass(frozen=True)
class PoseScript:
    """A script that was read and checked: see the module."""

    path: Path
    num_frames: int
    frame: int | None
    edits: tuple[KeyedEdit, ...]


def load_script(path: str | Path) -> PoseScript:
    """Read a pose script.

    Raises:
        UserError: missing or not YAML, or a key, an edit, an option or a value that there is not; says which.
    """
    path = Path(path)
    with in_one_line(path, "read"):
        if not path.exists():
            raise UserError(f"no pose script at {path}: expected a YAML file")
    content = read_yaml(path)
    _only(content, {"frames", "frame", "edits"}, f"{path}")
    num_frames = _checked(int, content.get("frames"), f"{path}: frames")
    if not 1 <= num_frames <= MAX_FRAMES:
        raise UserError(f"{path}: frames={num_frames} is not in 1 to {MAX_FRAMES}")
    edits = content.get("edits")
    if not isinstance(edits, list) or not 1 <= len(edits) <= MAX_EDITS:
        raise UserError(
            f"{path}: edits must be a list of at least one edit and at most {MAX_EDITS}, such as {{edit: blink, side: "
            f"right, ...}}"
        )
    keyed = tuple(_keyed(entry, f"{path}: edit {i + 1}", num_frames) for i, entry in enumerate(edits))
    return PoseScript(path, num_frames, _checked(int | None, content.get("frame"), f"{path}: frame"), keyed)


def apply_script(
    script: PoseScript, pose: PoseSequence, *, frame_size: tuple[float, float] = (1.0, 1.0)
) -> PoseSequence:
    """Edit one pose.

    Args:
        pose: a sequence of one frame, from which every frame starts; x and y in one unit.
        frame_size: width and height of the frame in that unit.

    Returns:
        `script.num_frames` poses. Points that no edit moves are bit-identical to those of `pose`.

    Raises:
        UserError: keypoints that an edit needs are not seen.
    """
    xy, mask = [], []
    for frame in range(script.num_frames):
        puppet = Puppet.of(pose, 0, frame_size)
        for keyed in script.edits:
            try:
                keyed.apply(puppet, frame)
            except UserError as error:
                raise UserError(f"{script.path}: {keyed.name}: {error}") from error
        if not np.abs(puppet.xy).max() <= MAX_AMOUNT:
            raise UserError(f"{script.path}: at frame {frame} its edits take a point out of all bounds: lessen them")
        xy.append(puppet.xy)
        mask.append(puppet.mask)
    return PoseSequence(np.stack(xy), np.repeat(pose.confidence, script.num_frames, 0), np.stack(mask))


def perform_script(
    script: PoseScript,
    training: PoseSequence,
    *,
    frame: int | None = None,
    frame_size: tuple[float, float] = (1.0, 1.0),
) -> PoseSequence:
    """Edit a training pose: `frame` if given, else the script's, else that in which the script moves most.

    Moving most (the summed paths of all seen points) prefers open eyes to shut ones, arms across the view to arms
    towards the camera, and hands that are seen. The log says which frame it is. `frame_size`: see `apply_script`.

    Raises:
        UserError: no such training frame, or none in which the script's points are seen.
    """
    frame = script.frame if frame is None else frame
    if frame is not None:
        if not 0 <= frame < len(training):
            raise UserError(
                f"the start frame {frame} of {script.path} is not one of the "
                f"{counted(len(training), 'training frame')}: choose pose_script.frame from 0 to {len(training) - 1}"
            )
        return apply_script(script, training[frame], frame_size=frame_size)
    performed, failure = {}, None
    for i in range(len(training)):
        try:
            performed[i] = apply_script(script, training[i], frame_size=frame_size)
        except UserError as error:
            failure = failure or error
    if not performed:
        raise UserError(f"{failure} (so it is in each of the {counted(len(training), 'training frame')})")
    best = max(performed, key=lambda i: _path_length(performed[i]))
    log.info("%s starts from training frame %d, counted from 0; pose_script.frame= chooses another", script.path, best)
    return performed[best]


def _path_length(poses: PoseSequence) -> float:
    both = poses.mask[1:] & poses.mask[:-1]
    return float(np.linalg.norm(np.diff(poses.xy, axis=0), axis=-1)[both].sum())


def _keyed(entry: Any, where: str, num_frames: int) -> KeyedEdit:
    name = entry.get("edit") if isinstance(entry, dict) else None
    if not isinstance(name, str) or name not in EDITS:
        raise UserError(f"{where}: {name!s:.60} is no edit; choose one of {', '.join(EDITS)}")
    where = f"{where} ({name})"
    signature = inspect.signature(EDITS[name])
    options = {key: p for key, p in signature.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    _only(entry, {"edit", "keys", "easing", "period", *options}, where)
    keys = entry.get("keys")
    keys = keys if isinstance(keys, dict) else {0: keys}
    keys = _checked(dict[int, float], keys, f"{where}: keys")
    if not keys or min(keys) < 0 or max(keys) >= num_frames or not np.abs(list(keys.values())).max() <= MAX_AMOUNT:
        raise UserError(
            f"{where}: keys must give amounts of at most {MAX_AMOUNT:g} at frames from 0 to {num_frames - 1}, got "
            f"{keys!s:.200}"
        )
    easing = entry.get("easing", "smooth")
    if not isinstance(easing, str) or easing not in EASINGS:
        raise UserError(f"{where}: easing={easing!s:.60} is unknown; choose one of {', '.join(EASINGS)}")
    period = _checked(float | None, entry.get("period"), f"{where}: period")
    if period is not None and not 0 < period <= MAX_FRAMES:
        raise UserError(f"{where}: period={period} must be a number of frames, above 0 and at most {MAX_FRAMES}")
    given = {}
    for key, parameter in options.items():
        if key in entry:
            given[key] = _checked(parameter.annotation, entry[key], f"{where}: {key}")
            if isinstance(given[key], float) and not abs(given[key]) <= MAX_AMOUNT:
                raise UserError(f"{where}: {key}={given[key]}: expected at most {MAX_AMOUNT:g}")
        elif parameter.default is inspect.Parameter.empty:
            raise UserError(f"{where} needs {key}: {parameter.annotation}".replace("typing.Literal", "one of "))
    return KeyedEdit(name, dict(sorted(keys.items())), easing, period, given)


def _only(value: Any, allowed: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise UserError(f"{where} must hold the keys {', '.join(sorted(allowed))}, got {value!r:.100}")
    if unknown := sorted(map(str, value.keys() - allowed)):
        raise UserError(f"{where} has no {', '.join(unknown)[:200]}; known are {', '.join(sorted(allowed))}")


def _checked(kind: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{where}={value!r:.100}: {error.errors()[0]['msg']}") from error
