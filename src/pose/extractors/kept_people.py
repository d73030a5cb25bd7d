"""Who was found in the frames of a clip so far, on disk, so that a search that was stopped goes on from there.

Dimensions: F frames, P people of all frames, K = 128 keypoints.
"""

import logging
import time
from pathlib import Path

import numpy as np

from src.common.arrays import read_npz
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import DamagedFile
from src.pose.keypoints import NUM_KEYPOINTS
from src.pose.tracking import Detection

log = logging.getLogger(__name__)

# Of a search that is killed so much is done again at most.
EVERY_SECONDS = 20


class KeptPeople:
    """The people of each frame in the order of time, which are written now and then.

    Args:
        path: `.npz` with counts (F,), xy (P, K, 2) and confidence (P, K); what it holds of an earlier search of these
            frames is taken over. None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._written = path, time.monotonic()
        self.frames: list[list[Detection]] = []
        if path is None or not path.exists():
            return
        try:
            self.frames = _read(path)
        except DamagedFile as error:
            log.warning("%s: people are looked for again", error)
        else:
            log.info("%s were looked at before: %s", counted(len(self.frames), "frame"), path)

    def add(self, people: list[Detection]) -> None:
        """Take the people of the next frame.

        Raises:
            ResourceError: the disk is full, or refuses.
        """
        self.frames.append(people)
        if self._path is not None and time.monotonic() - self._written >= EVERY_SECONDS:
            found = [person for frame in self.frames for person in frame]
            with atomic_path(self._path) as temporary:
                np.savez(
                    temporary,
                    counts=np.array([len(frame) for frame in self.frames], np.int64),
                    xy=np.array([person.xy for person in found]).reshape(-1, NUM_KEYPOINTS, 2),
                    confidence=np.array([person.confidence for person in found]).reshape(-1, NUM_KEYPOINTS),
                )
            self._written = time.monotonic()


def _read(path: Path) -> list[list[Detection]]:
    arrays = read_npz(path)
    counts, xy, confidence = (arrays.get(name, np.empty(0)) for name in ("counts", "xy", "confidence"))
    whole = counts.ndim == 1 and counts.dtype == np.int64 and (counts >= 0).all()
    shape = (int(counts.sum()) if whole else -1, NUM_KEYPOINTS)
    if (xy.shape, confidence.shape) != ((*shape, 2), shape) or not (np.isfinite(xy).all() and (confidence >= 0).all()):
        raise DamagedFile(f"{path} does not hold the people of frames")
    people = [Detection(*found) for found in zip(xy, confidence, strict=True)]
    ends = np.cumsum(counts)
    return [people[end - count : end] for count, end in zip(counts, ends, strict=True)]
