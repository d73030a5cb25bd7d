"""One interface for whatever turns frames into poses."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from src.common.arrays import height_width
from src.common.counting import counted
from src.common.digests import sha256
from src.common.errors import UserError, in_one_line
from src.common.progress import track
from src.pose.extractors.kept_people import KeptPeople
from src.pose.formats import PoseFile
from src.pose.keypoints import PoseSequence
from src.pose.tracking import Crowd, Detection, PersonChoice, select_person

log = logging.getLogger(__name__)

# Rounding of sides changes a shape by less.
SHAPE_TOLERANCE = 0.02


class PoseExtractor(ABC):
    """Whole-body keypoints of one person of a clip.

    Building one is cheap and does not fail: settings are checked, and weights read or fetched, by the first call
    that needs them.

    Attributes:
        crowd: everybody who was found in the clip that was read last; None where people are not told apart.
        download: whether weights that are not here may be fetched.
        kept: of one that looks at each frame by itself, where it keeps the people of the clip that it reads, to go on
            from there; None: nowhere.
        caution: what a user should know before a clip is prepared with its poses, if anything.
    """

    name: str
    download: bool = True
    kept: Path | None = None
    crowd: Crowd | None = None
    caution: str | None = None

    @abstractmethod
    def fingerprint(self) -> str:
        """Name, versions, settings and weights in one line: equal fingerprints mean equal poses of equal frames."""

    @abstractmethod
    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        """Find the person in each frame.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size, in time order. Read once, one at a time.
            total: how many there are, for the progress bar.

        Returns:
            As many poses as frames; the mask is False throughout a frame without the person.

        Raises:
            NobodyFound: no person in any frame, or not the one asked for.
            UserError: weights, packages or files that are not there.
        """


class FileExtractor(PoseExtractor):
    """Poses that were made elsewhere: `.npz`, OpenPose JSON, or a folder of it (`src.pose.formats`).

    Args:
        path: the file or folder; it must hold as many poses as the clip has frames.
        person: of several in OpenPose JSON, see `src.pose.tracking.follow`.
    """

    name = "file"

    def __init__(self, *, path: str | Path | None, person: PersonChoice = "largest") -> None:
        self.path = path
        self.person: PersonChoice = person

    def fingerprint(self) -> str:
        path = self._path()
        with in_one_line(path, "read"):
            files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        return "file " + " ".join(f"{file.name}:{sha256(file)}" for file in files) + told_person(self.person)

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        path, count = self._path(), 0
        size: tuple[int, int] | None = None
        for frame in frames:
            count, size = count + 1, height_width(frame)
        file = PoseFile(path)
        poses, self.crowd = file.people(size=size, person=self.person)
        if len(poses) != count:
            raise UserError(
                f"{path}: {counted(len(poses), 'pose')} for a clip of {counted(count, 'frame')}; expected one pose for "
                "each frame"
            )
        picture = file.size()
        if picture and size and abs(picture[1] * size[0] / (picture[0] * size[1]) - 1) > SHAPE_TOLERANCE:
            log.warning(
                "%s is of a picture of %dx%d pixels, and the clip has %dx%d (width x height): poses are stretched",
                *(path, *picture[::-1], *size[::-1]),
            )
        return poses

    def _path(self) -> Path:
        if self.path is None:
            raise UserError("pose=file needs the keypoints to read: set pose.path=<.npz, .json or folder>")
        with in_one_line(self.path, "read"):
            if not Path(self.path).exists():
                raise UserError(f"{self.path}: no such file or folder; pose.path must name existing keypoints")
        return Path(self.path)


def told_person(person: PersonChoice) -> str:
    """Who is followed, for a fingerprint; the largest, as ever, needs no word."""
    return "" if person == "largest" else f" person={person}"


def extract_people(
    detect: Callable[[np.ndarray], list[Detection]],
    frames: Iterable[np.ndarray],
    *,
    total: int | None,
    name: str,
    person: PersonChoice = "largest",
    kept: Path | None = None,
) -> tuple[PoseSequence, Crowd]:
    """Run a detector over the frames under a progress bar and follow one person.

    Args:
        detect: (H, W, 3) uint8 RGB to the people in it.
        frames: as in `PoseExtractor.extract`.
        total: number of frames, if known.
        name: of the extractor, for messages.
        person: see `src.pose.tracking.follow`.
        kept: see `PoseExtractor`; only of a `detect` that depends on its frame alone.

    Raises:
        NobodyFound: no person in any frame, or not the one asked for.
    """
    people = KeptPeople(kept)
    before = len(people.frames)
    for number, frame in enumerate(track(frames, f"Poses ({name})", total=total)):
        if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be (H, W, 3) uint8 RGB, got {frame.shape} {frame.dtype}")
        if number >= before:
            people.add(detect(frame))
    return select_person(people.frames, source=name, person=person)
