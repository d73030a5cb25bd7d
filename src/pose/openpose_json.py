"""OpenPose JSON as its many writers write it, to and from our keypoints.

Read: OpenPose's own `--write_json` (BODY_25 or COCO-18, pixels, no canvas), web pose editors and ControlNet
extensions (`people` with `canvas_width` and `canvas_height`, hands and face null or absent, pixels or normalised),
and the dictionary of DWPose and controlnet-aux (`bodies`, `hands`, `faces`, normalised).

Dimensions: K = 128 keypoints.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from src.common.errors import UserError
from src.pose.keypoints import NUM_KEYPOINTS, PARTS, PoseSequence
from src.pose.tracking import Detection

log = logging.getLogger(__name__)

KEYS = {
    "body": "pose_keypoints_2d",
    "face": "face_keypoints_2d",
    "left_hand": "hand_left_keypoints_2d",
    "right_hand": "hand_right_keypoints_2d",
}
# Where our keypoints lie among those of the file, by how many the file has. BODY_25 adds the mid hip (8) and six
# foot points (19 to 24); OpenPose's 70 face points are iBUG's 68 and two pupils.
LAYOUTS: dict[str, dict[int, np.ndarray]] = {
    "body": {18: np.arange(18), 25: np.r_[0:8, 9:19]},
    "face": {68: np.arange(68), 70: np.arange(68)},
    "left_hand": {21: np.arange(21)},
    "right_hand": {21: np.arange(21)},
}
# Half of all coordinates within twice the frame: normalised. In pixels that would be a person of two pixels.
NORMALISED_LIMIT = 2.0
# More people in one frame than a picture shows, and further away than a detector sees, are a damaged file.
MAX_PEOPLE = 200
MAX_COORDINATE = 1e6
MAX_CANVAS = 100_000


def parse_frames(path: Path, documents: list[Any], *, size: tuple[int, int] | None) -> list[list[Detection]]:
    """Read one JSON object a frame into people in units of the frame.

    Args:
        path: the file or folder, for messages.
        documents: parsed JSON, one object a frame.
        size: (height, width) of the picture for pixel coordinates in files that do not state a canvas.

    Raises:
        UserError: unknown keys, wrong counts, not numbers, or pixels without any size.
    """
    frames = [_parse_document(f"{path}: frame {i}", document) for i, document in enumerate(documents)]
    reach = [np.abs(person.xy[person.seen]).max(-1) for people, _ in frames for person in people]
    if not sum(map(len, reach)):
        return [[] for _ in frames]
    normalised = float(np.median(np.concatenate(reach))) <= NORMALISED_LIMIT
    log.info("%s: coordinates are %s", path, "normalised" if normalised else "pixels")
    if normalised:
        return [people for people, _ in frames]
    scaled = []
    for people, canvas in frames:
        canvas = canvas or size
        if canvas is None:
            raise UserError(
                f"{path}: coordinates are pixels, and the file does not say of how large a picture; expected"
                " canvas_width and canvas_height in each frame, or the picture's height and width beside poses=, as"
                " poses_size=[1080,1920]"
            )
        height, width = canvas
        scaled.append([Detection(person.xy / (width, height), person.confidence) for person in people])
    return scaled


def canvas_size(path: Path, documents: list[Any]) -> tuple[int, int] | None:
    """(height, width) of the picture that a clip's coordinates are of, None where the file does not say.

    Raises:
        UserError: no canvas that can be, or pictures of several shapes.
    """
    found = [
        canvas
        for i, document in enumerate(documents)
        if isinstance(document, dict) and (canvas := _canvas(f"{path}: frame {i}", document)) is not None
    ]
    if not found:
        return None
    height, width = found[0]
    if other := next((canvas for canvas in found if canvas[0] * width != canvas[1] * height), None):
        raise UserError(
            f"{path}: canvases of {width}x{height} and of {other[1]}x{other[0]} pixels: expected one shape in all,"
            " put the poses on one canvas"
        )
    return found[0]


def to_documents(poses: PoseSequence, *, size: tuple[int, int], fps: float | None) -> list[dict[str, Any]]:
    """Write each pose as a frame of the web editors' JSON: pixels of a canvas of `size` (height, width).

    Unseen is (0, 0, 0), as everywhere in OpenPose; a frame without any seen keypoint has no people. A seen keypoint
    of confidence 0 is written with the smallest confidence that still reads as seen.
    """
    height, width = size
    xy = poses.xy.astype(np.float64) * (width, height)
    confidence = np.where(poses.mask, np.maximum(poses.confidence, np.finfo(np.float32).tiny), 0).astype(np.float64)
    triples = np.concatenate([np.where(poses.mask[..., None], xy, 0), confidence[..., None]], -1)
    documents = []
    for triples_K3, mask_K in zip(triples, poses.mask, strict=True):
        person = {
            key: triples_K3[PARTS[part]].ravel().tolist() if part == "body" or mask_K[PARTS[part]].any() else None
            for part, key in KEYS.items()
        }
        document = {"people": [person] if mask_K.any() else [], "canvas_width": width, "canvas_height": height}
        documents.append(document | ({} if fps is None else {"fps": fps}))
    return documents


def _parse_document(where: str, document: Any) -> tuple[list[Detection], tuple[int, int] | None]:
    """One frame: its people in the file's units, and its canvas (height, width) if it has one."""
    if isinstance(document, dict) and isinstance(document.get("people"), list):
        _check_count(where, len(document["people"]))
        people = [_parse_person(f"{where}, person {i}", person) for i, person in enumerate(document["people"])]
        return people, _canvas(where, document)
    if isinstance(document, dict) and isinstance(document.get("bodies"), dict):
        return _parse_dwpose(where, document), None
    keys = ", ".join(list(document)[:20]) if isinstance(document, dict) else type(document).__name__
    raise UserError(
        f"{where}: expected OpenPose JSON, an object with `people` (or DWPose's `bodies`, `hands`, `faces`), got {keys}"
    )


def _canvas(where: str, document: dict[str, Any]) -> tuple[int, int] | None:
    canvas: tuple[Any, Any] = document.get("canvas_height"), document.get("canvas_width")
    if canvas == (None, None):
        return None
    if not all(type(side) in (int, float) and 1 <= side <= MAX_CANVAS for side in canvas):
        raise UserError(
            f"{where}: canvas_height and canvas_width must both be numbers from 1 to {MAX_CANVAS}, got {canvas!s:.100}"
        )
    return canvas


def _parse_person(where: str, person: Any) -> Detection:
    if not isinstance(person, dict) or not any(key in person for key in KEYS.values()):
        raise UserError(f"{where}: expected an object with {', '.join(KEYS.values())}")
    triples = np.zeros((NUM_KEYPOINTS, 3))
    for part, key in KEYS.items():
        numbers = _numbers(f"{where}, {key}", person.get(key))
        if not numbers.size:
            continue
        layout = LAYOUTS[part].get(numbers.size // 3)
        if layout is None or numbers.size % 3:
            counts = " or ".join(f"{3 * count} ({count} keypoints)" for count in LAYOUTS[part])
            raise UserError(
                f"{where}: {key} has {numbers.size} numbers, expected {counts}, three each: x, y, confidence"
            )
        triples[PARTS[part]] = numbers.reshape(-1, 3)[layout]
    return _person(where, triples[:, :2], triples[:, 2])


def _parse_dwpose(where: str, document: dict[str, Any]) -> list[Detection]:
    """DWPose's dictionary: body points of all people in `candidate`, each person's row of `subset` their indices or -1.

    `hands` holds everyone's left hand, then everyone's right hand; unseen points of hands and faces are (-1, -1).
    """
    candidate = _numbers(f"{where}, bodies.candidate", document["bodies"].get("candidate"))
    subset = _numbers(f"{where}, bodies.subset", document["bodies"].get("subset"))
    count = len(subset) if subset.ndim == 2 else 0
    _check_count(where, count)
    shapes = {"faces": (count, 68), "hands": (2 * count, 21)}
    parts = {key: _numbers(f"{where}, {key}", document.get(key)) for key in shapes}
    good = candidate.ndim == 2 and candidate.shape[1] >= 2 and subset.ndim == 2 and subset.shape[1] >= 18
    good = good and all(not value.size or value.shape == (*shapes[key], 2) for key, value in parts.items())
    if subset.size and not (good and subset[:, :18].min() >= -1 and subset[:, :18].max() < len(candidate)):
        got = {"candidate": candidate.shape, "subset": subset.shape} | {k: v.shape for k, v in parts.items()}
        raise UserError(
            f"{where}: expected DWPose's bodies.candidate (18 people, 2), bodies.subset (people, 18) of indices,"
            f" faces (people, 68, 2) and hands (2 people, 21, 2), got {got}"
        )
    people = []
    for i in range(count):
        xy = np.full((NUM_KEYPOINTS, 2), -1.0)
        index = subset[i, :18].astype(int)
        xy[PARTS["body"]] = np.where(index[:, None] >= 0, candidate[index, :2], -1)
        if parts["faces"].size:
            xy[PARTS["face"]] = parts["faces"][i]
        if parts["hands"].size:
            xy[PARTS["left_hand"]], xy[PARTS["right_hand"]] = parts["hands"][i], parts["hands"][count + i]
        people.append(_person(f"{where}, person {i}", xy, (xy != -1).any(-1).astype(float)))
    return people


def _person(where: str, xy: np.ndarray, confidence: np.ndarray) -> Detection:
    # OpenPose's face and hand scores pass 1 by a little.
    person = Detection(xy, np.clip(confidence, 0, 1))
    if not (np.isfinite(confidence).all() and np.isfinite(xy[person.seen]).all()):
        raise UserError(f"{where}: a keypoint is not a finite number")
    if np.abs(xy[person.seen]).max(initial=0) > MAX_COORDINATE:
        raise UserError(f"{where}: a keypoint lies more than {MAX_COORDINATE:.0f} pixels away, so the file is damaged")
    # What is not seen means nothing; a large number there would overflow where people are compared.
    return Detection(np.where(person.seen[:, None], xy, 0), person.confidence)


def _check_count(where: str, count: int) -> None:
    if count > MAX_PEOPLE:
        raise UserError(f"{where}: {count} people, more than the {MAX_PEOPLE} that are read in a frame")


def _numbers(where: str, value: Any) -> np.ndarray:
    """A JSON array of numbers, flat or nested; null is empty."""
    try:
        numbers = np.asarray([] if value is None else value)
    except (TypeError, ValueError, OverflowError):
        numbers = None
    # Strings, true and false, and lists of unequal lengths are not what a detector writes.
    if numbers is None or numbers.dtype.kind not in "iuf" or not numbers.ndim:
        raise UserError(f"{where}: expected an array of numbers")
    return numbers.astype(np.float64)
