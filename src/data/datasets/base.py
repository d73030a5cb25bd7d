"""What a data set is to the rest: clips under stable names, fetched one at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.errors import UserError


class Unavailable(UserError):
    """A clip that nobody can have any more, or that the source does not hold; the message says why."""


@dataclass(frozen=True)
class DatasetClip:
    """One clip of a data set.

    Attributes:
        name: of the subject, such as `ted_001`. It belongs to this clip for good: clips that cannot be had keep theirs.
        source: where it comes from, as the manifest records it; JSON values.
        fetch: brings it here, unless that was done before, and returns a video file or a folder of frames as
            `src.data.prepare.prepare_subject` reads it. Raises `Unavailable` for a clip that is gone and `UserError`
            for one that cannot be had now. None: the name resolves by itself, as a rendered person's does.
        fps: the rate at which it is read, where the settings name none; None: its own.
    """

    name: str
    source: Mapping[str, Any]
    fetch: Callable[[], Path] | None
    fps: float | None = None


class Dataset(ABC):
    """Clips in the order of their names.

    Attributes:
        name: of the data set; its clips are `<name>_001`, `<name>_002`, ...
        num_published_clips: how many the published results are over; None: nobody has published any.
    """

    name: str
    num_published_clips: int | None

    @abstractmethod
    def clips(self) -> list[DatasetClip]:
        """All clips, without fetching any.

        Raises:
            UserError: the data are not where, or not as, the configuration says.
        """

    def __iter__(self) -> Iterator[DatasetClip]:
        return iter(self.clips())


def numbered(name: str, index: int) -> str:
    """The name of the clip at that index, which counts from 0.

    >>> numbered("ted", 0)
    'ted_001'
    """
    return f"{name}_{index + 1:03d}"
