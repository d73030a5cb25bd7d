"""Several people in the picture: follow one of them through the clip.

Dimensions: F frames, T tracks, P people in a frame, K = 128 keypoints.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from src.common.counting import counted, frame_ranges
from src.common.errors import UserError
from src.common.typed import check_range
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence

log = logging.getLogger(__name__)

# How far a person may be from where they are expected and still be the same, in units of their own size
# (square root of the box): the first for a person seen one frame ago, more for each frame without them, to their own
# size: who was long away could else be anybody.
MAX_JUMP = 0.5
JUMP_PER_MISSED_FRAME = 0.1
MAX_JUMP_AFTER_GAP = 1.0
# Who comes back later is a new person; without an end each detection is compared with all people ever seen.
MAX_MISSED_FRAMES = 100
# Motion is carried on for this many frames at most: a person out of sight soon stops or turns.
MAX_PREDICTED_FRAMES = 5

PersonChoice = Literal["largest", "left", "right"] | int


class Detection(NamedTuple):
    """One detected person in one frame.

    Attributes:
        xy: (K, 2) float, units of the frame.
        confidence: (K,) float in [0, 1], 0 where the keypoint is unseen.
    """

    xy: np.ndarray
    confidence: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(K,) bool."""
        return self.confidence > 0

    def box(self) -> np.ndarray:
        """(4,) left, top, right, bottom of the seen keypoints, cut to the frame."""
        xy = np.clip(self.xy[self.seen], 0, 1)
        return np.concatenate([xy.min(0), xy.max(0)])

    def area(self) -> float:
        """Area of `box` as a share of the frame."""
        left, top, right, bottom = self.box()
        return float((right - left) * (bottom - top))


@dataclass
class _Track:
    """One person over time: `indices[f]` says which detection of frame f is theirs, `areas` how large each was."""

    person: Detection
    frame: int
    indices: dict[int, int]
    areas: list[float]
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def expected(self, frame: int) -> np.ndarray:
        """(K, 2) where the keypoints would be by now."""
        return self.person.xy + self.velocity * min(frame - self.frame, MAX_PREDICTED_FRAMES)

    def allowed(self, frame: int) -> float:
        return min(MAX_JUMP + JUMP_PER_MISSED_FRAME * (frame - self.frame - 1), MAX_JUMP_AFTER_GAP)

    def extend(self, person: Detection, frame: int, index: int) -> None:
        common = self.person.seen & person.seen
        if common.any():
            step = np.median(person.xy[common] - self.person.xy[common], axis=0) / (frame - self.frame)
            # Half of the old motion: one jittering detection must not throw the prediction.
            self.velocity = step if len(self.indices) == 1 else (self.velocity + step) / 2
        self.person, self.frame = person, frame
        self.indices[frame] = index
        self.areas.append(person.area())


class NobodyFound(UserError):
    """An extractor did its work, and nobody is in the frames, or not the one asked for."""


@dataclass(frozen=True, eq=False)
class Crowd:
    """The people of a clip, numbered from the largest over the clip to the smallest.

    Attributes:
        people: for each, which detection of a frame is theirs, by frame.
        boxes: for each, (left, top, right, bottom) in units of the frame, by frame.
        chosen: number of the one to follow; None: nobody was found.
    """

    people: list[dict[int, int]]
    boxes: list[dict[int, np.ndarray]]
    chosen: int | None

    def indices(self, num_frames: int) -> list[int | None]:
        """Which detection of each frame is the followed person; None where they were not found."""
        chosen = {} if self.chosen is None else self.people[self.chosen]
        return [chosen.get(frame) for frame in range(num_frames)]


def check_person(person: PersonChoice, *, alone: str | None = None) -> None:
    """Raise UserError unless `pose.person` may be this.

    Args:
        alone: what finds one person only, for the message; None: several are told apart.
    """
    if isinstance(person, int):
        check_range("pose.person", person, least=0)
    if alone is not None and person != "largest":
        raise UserError(
            f"pose.person={person}: {alone} finds one person and chooses them itself; pose=dwpose and pose=file "
            "(OpenPose JSON) tell people apart"
        )


def follow(people_F: Sequence[Sequence[Detection]], person: PersonChoice = "largest") -> Crowd:
    """Tell the people of a clip apart and choose one.

    Detections are linked frame by frame into tracks (optimal assignment on keypoint distance to where each person
    would be at constant speed; who was seen in the frame before comes first), numbered by their area summed over the
    clip. Where no frame has more than one person there is nothing to choose, and jumps (cuts, hand-made poses) do not
    matter.

    Args:
        people_F: the people found in each of F frames; none is allowed. Each has at least one seen keypoint.
        person: `largest`: number 0. `left`, `right`: in the frame where each appears first, among those who are seen
            in at least half as many frames as the one seen most. Or a number.

    Raises:
        NobodyFound: nobody has that number.

    Example:
        >>> near = Detection(np.random.default_rng(0).uniform(0, 0.9, (128, 2)), np.ones(128))
        >>> far = Detection(near.xy / 10, near.confidence)
        >>> follow([[far, near], [], [near, far]]).indices(3)
        [1, None, 0]
        >>> follow([[far, near], [], [near, far]], "left").indices(3)
        [0, None, 1]
    """
    if all(len(people) <= 1 for people in people_F):
        found = {frame: 0 for frame, people in enumerate(people_F) if people}
        tracks = [found] if found else []
    else:
        tracks = [track.indices for track in sorted(_linked(people_F), key=lambda track: -sum(track.areas))]
    boxes = [{frame: people_F[frame][index].box() for frame, index in track.items()} for track in tracks]
    return Crowd(tracks, boxes, _chosen(boxes, person) if tracks else None)


def _chosen(boxes: Sequence[dict[int, np.ndarray]], person: PersonChoice) -> int:
    if person == "largest":
        return 0
    if isinstance(person, int):
        if person >= len(boxes):
            raise NobodyFound(
                f"pose.person={person}: {counted(len(boxes), 'person', 'people')} found, numbered from 0, the largest"
            )
        return person
    most = max(map(len, boxes))
    lasting = [number for number, found in enumerate(boxes) if 2 * len(found) >= most]
    centres = {number: float(boxes[number][min(boxes[number])][[0, 2]].mean()) for number in lasting}
    return (min if person == "left" else max)(lasting, key=lambda number: centres[number])


def _linked(people_F: Sequence[Sequence[Detection]]) -> list[_Track]:
    tracks: list[_Track] = []
    recent: list[_Track] = []
    for frame, people in enumerate(people_F):
        recent = [track for track in recent if frame - track.frame <= MAX_MISSED_FRAMES + 1]
        free = list(range(len(people)))
        live = [track for track in recent if track.frame == frame - 1]
        for some in (live, [track for track in recent if track.frame < frame - 1]):
            for track, index in _links(some, {index: people[index] for index in free}, frame):
                track.extend(people[index], frame, index)
                free.remove(index)
        new = [_Track(people[index], frame, {frame: index}, [people[index].area()]) for index in free]
        tracks += new
        recent += new
    return tracks


def _links(tracks: Sequence[_Track], people: Mapping[int, Detection], frame: int) -> list[tuple[_Track, int]]:
    """Who of the people, by index, goes on which of the tracks: the assignment of the least distance in all."""
    if not tracks or not people:
        return []
    # A second of imports, for clips with several people alone.
    from scipy.optimize import linear_sum_assignment

    distance_TP = _distances(tracks, list(people.values()), frame)
    allowed = np.array([track.allowed(frame) for track in tracks])[:, None]
    # Forbidden links cost more than all allowed ones together, so that they never push one of those out.
    cost = np.where(distance_TP <= allowed, distance_TP, 10.0 * (1 + len(people)))
    indices = list(people)
    return [
        (tracks[row], indices[column])
        for row, column in zip(*linear_sum_assignment(cost), strict=True)
        if distance_TP[row, column] <= allowed[row]
    ]


def _distances(tracks: Sequence[_Track], people: Sequence[Detection], frame: int) -> np.ndarray:
    """(T, P) mean distance of common keypoints to where they are expected, in units of the person's size."""
    expected, seen = np.stack([track.expected(frame) for track in tracks]), np.stack([t.person.seen for t in tracks])
    found, there = np.stack([person.xy for person in people]), np.stack([person.seen for person in people])
    common = seen[:, None] & there
    apart = np.hypot(*np.moveaxis(found - expected[:, None], -1, 0))
    count = common.sum(-1)
    distance = np.where(common, apart, 0).sum(-1) / np.maximum(count, 1)
    # Of too few common keypoints the centres.
    centre, middle = (
        (np.where(known[..., None], xy, 0).sum(1) / known.sum(1, keepdims=True))
        for xy, known in ((expected, seen), (found, there))
    )
    distance = np.where(count >= 3, distance, np.linalg.norm(middle - centre[:, None], axis=-1))
    areas = np.maximum.outer([track.areas[-1] for track in tracks], [person.area() for person in people])
    return distance / np.sqrt(np.maximum(areas, 1e-6))


def select_person(
    people_F: Sequence[Sequence[Detection]], *, source: str, person: PersonChoice = "largest"
) -> tuple[PoseSequence, Crowd]:
    """Turn per-frame detections into the poses of one person, and log who was chosen.

    Args:
        people_F: as in `follow`; people without a seen keypoint are ignored.
        source: who found them, for messages (an extractor's name or a file).
        person: see `follow`.

    Returns:
        F poses, the mask False throughout a frame in which the person was not found; and everybody who was found.

    Raises:
        NobodyFound: in any frame, or not the one asked for.
    """
    people_F = [[found for found in people if found.seen.any()] for people in people_F]
    count = len(people_F)
    crowd = follow(people_F, person)
    chosen = crowd.indices(count)
    found = sum(index is not None for index in chosen)
    if not found:
        raise NobodyFound(
            f"{source}: no person found in the {counted(count, 'frame')}; a person must be seen in the picture"
            " (another extractor may find them: pose=dwpose, pose=mediapipe, or pose=file with your own keypoints)"
        )
    xy = np.zeros((count, NUM_KEYPOINTS, 2), np.float32)
    confidence = np.zeros((count, NUM_KEYPOINTS), np.float32)
    for frame, index in enumerate(chosen):
        if index is not None:
            xy[frame], confidence[frame] = people_F[frame][index]
    crowded = sum(len(people) > 1 for people in people_F)
    if crowded:
        log.info(
            "%s: up to %d people in a frame (several in %d of %s); following number %d, %s",
            *(source, max(map(len, people_F)), crowded, counted(count, "frame"), crowd.chosen),
            "the largest over the clip" if person == "largest" else f"pose.person={person}",
        )
    if found < count:
        missing = [frame for frame, index in enumerate(chosen) if index is None]
        log.warning(
            "%s: person not found in %d of %s: %s",
            source,
            count - found,
            counted(count, "frame"),
            frame_ranges(missing, limit=8),
        )
    else:
        log.info("%s: person found in %d of %s", source, count, counted(count, "frame"))
    return PoseSequence(xy, confidence, confidence > 0), crowd
