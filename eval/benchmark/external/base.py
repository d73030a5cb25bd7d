"""What another system is to the benchmark: files that go out to it, and frames that come back.

Dimensions: N training frames, M held-out frames of S x S pixels, RGB uint8.

    <external>/<row>/<benchmark>/COMMANDS.md           what to run in the system's checkout
    <external>/<row>/<benchmark>/<subject>/training/   the frames that the system may see; 00000.png is the reference
    <external>/<row>/<benchmark>/<subject>/held_out/   the true frames of the test poses, to score against
    <external>/<row>/<benchmark>/<subject>/poses.npz   their poses
    <external>/<row>/<benchmark>/<subject>/export.json what all of it was made from
    <external>/<row>/<benchmark>/<subject>/imported/   the frames that came back, byte for byte, for scoring
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.reporting import templates
from src.common.counting import counted
from src.common.errors import UserError
from src.common.reading import read_bytes
from src.common.typed import check_range
from src.media.pictures import IMAGE_SUFFIXES, MAX_IMAGE_BYTES, check_image
from src.media.video import VideoReader, read_video
from src.pose.keypoints import PoseSequence

TRAINING, HELD_OUT = "training", "held_out"


@dataclass(frozen=True, eq=False)
class Task:
    """One subject as a system gets it.

    Attributes:
        name: of the subject.
        folder: its folder in the export, where its frames are.
        size: S.
        training_poses: N poses, of the frames that the system may see.
        test_poses: the M poses to be followed.
        prompt: what the clip shows.
        fps: frames a second.
    """

    name: str
    folder: Path
    size: int
    training_poses: PoseSequence
    test_poses: PoseSequence
    prompt: str
    fps: float

    @property
    def num_poses(self) -> int:
        return len(self.test_poses)

    def training(self) -> np.ndarray:
        """(N, S, S, 3) the frames that the system may see, the reference first."""
        return read_video(self.folder / TRAINING).frames

    def held_out(self) -> np.ndarray:
        """(M, S, S, 3) the true frames of the test poses."""
        return read_video(self.folder / HELD_OUT).frames


@dataclass(frozen=True, kw_only=True)
class System(ABC):
    """Another project's code, or a web service, by its settings.

    Attributes:
        name: of its rows in tables, as `eval/reporting/published.yaml` has it.
        num_frames: N, how many training frames it may see.
    """

    name: str
    num_frames: int

    def __post_init__(self) -> None:
        check_range("system.num_frames", self.num_frames, least=1)

    @abstractmethod
    def export(self, task: Task) -> str | None:
        """Write a subject's input, as far as that was not done before, beside the frames that are there already.

        Returns:
            What the user must add before the system can run, in one line; None: nothing is missing.

        Raises:
            UserError: what the user added is not as it must be.
        """

    def finish_export(self, root: Path, tasks: Sequence[Task]) -> None:  # noqa: B027 (most systems need no such file)
        """Write what all subjects share into the benchmark's folder.

        Args:
            tasks: those whose input is complete.
        """

    @abstractmethod
    def find_output(self, task: Task) -> list[Path] | None:
        """The video that the system made, or its M images in their order; None: it has not run yet.

        Raises:
            UserError: there is something else, or part of it.
        """

    @abstractmethod
    def commands(self, root: Path, tasks: Sequence[Task]) -> str:
        """The text of COMMANDS.md: checkout, weights, command lines, and where the output belongs."""


def check_frames(paths: Sequence[Path], task: Task, *, what: str, size: int | None) -> None:
    """Refuse other than M frames of one size.

    Args:
        paths: of one video, or of the images.
        what: the frames, for the message.
        size: S in pixels; None: whatever it is.

    Raises:
        UserError: unreadable, or another number or size.
    """
    if is_image(paths[0]):
        where, count, sizes = paths[0].parent, len(paths), {_image_size(path) for path in paths}
    else:
        reader = VideoReader(paths[0])
        where, count, sizes = paths[0], len(reader), {(reader.width, reader.height)}
    if count != task.num_poses:
        raise UserError(
            f"{where} has {count} {what} where {task.name} has {counted(task.num_poses, 'test pose')}: make one for "
            "each, in their order"
        )
    given = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
    if len(sizes) > 1:
        raise UserError(f"{where} has {what} of {given}: all of a video must have one size")
    if size is not None and sizes != {(size, size)}:
        raise UserError(
            f"{where} has {what} of {given}, expected {size}x{size}: run the system at that size (COMMANDS.md), or "
            "score every method at one size: protocol.resolution=256 protocol.resize=bicubic"
        )


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name; else it is a video."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a text of this folder."""
    return templates.render(Path(__file__).parent / template, values)


def _image_size(path: Path) -> tuple[int, int]:
    return check_image(read_bytes(path, max_bytes=MAX_IMAGE_BYTES), str(path))
