"""A subject: the frames and poses of one person's clip, prepared once and kept on disk.

Dimensions: F frames of H x W pixels.

    data/<name>/subject.yaml   prompt and provenance; the prompt may be edited by hand
    data/<name>/frames.npy     (F, H, W, 3) uint8 RGB
    data/<name>/poses.npz      the keypoints in units of those frames
    data/<name>/sheet.png      what was prepared, to look at
    data/<name>/people.png     where several people are seen: all of them, numbered
    data/.poses/<key>.npz      keypoints of the full frame, so that another crop or resolution needs no detector
"""

import errno
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from src.common.arrays import collected, height_width, map_npy
from src.common.atomic import atomic_path
from src.common.errors import DamagedFile, ResourceError, UserError
from src.common.reading import read_yaml, safe_name
from src.common.typed import check_range, typed
from src.common.writers import refuse_links
from src.data.crop import (
    MAX_RATIO,
    SEEN_SHARE,
    CropBox,
    CropMode,
    aspect_ratio,
    crop_box,
    crop_frame,
    crop_poses,
    frame_size,
)
from src.pose.formats import FPS_RANGE, load_poses
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

VERSION = 2
DEFAULT_PROMPT = "a photo of a person"
_AGAIN = "prepare it again with python -m src.prepare video=... name=... force=true"
_BARS = 2 * MAX_RATIO  # multiples of 64 take small frames further from a square than others
_NAME = re.compile(r"\w[\w.-]*")
_RENDERED_NAME = re.compile(r"people_[0-9]+")


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What of a video is prepared, and how.

    Attributes:
        resolution: the shorter side of the prepared frames in pixels.
        aspect: their shape, see `src.data.crop.frame_size`.
        crop: see `src.data.crop.crop_box`.
        fps: read the video at this many frames a second; None: its own rate.
        start: first frame, counted at `fps`.
        max_frames: read at most this many frames; None: all.
    """

    resolution: int
    aspect: str = "square"
    crop: CropMode = "person"
    fps: float | None = None
    start: int = 0
    max_frames: int | None = None

    def __post_init__(self) -> None:
        check_range("data.resolution", self.resolution, least=1, most=16384)
        aspect_ratio(self.aspect)
        if self.crop == "none" and self.aspect != "source":
            raise UserError(
                f"data.crop=none keeps the whole frame, whose shape data.aspect={self.aspect} would distort: set "
                "data.aspect=source, or another data.crop"
            )
        check_range("data.start", self.start, least=0)
        check_range("data.max_frames", self.max_frames, least=1)
        check_range("data.fps", self.fps, above=0, most=1000)


@dataclass(frozen=True, kw_only=True)
class _Source:
    name: str
    sha256: str
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class _Extractor:
    name: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Size:
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What `subject.yaml` must hold."""

    version: Literal[2]
    name: str
    prompt: str
    source: _Source
    settings: ClipSettings
    extractor: _Extractor
    num_frames: int
    fps: str
    frame_size: _Size
    crop_box: CropBox

    def __post_init__(self) -> None:
        full, box = self.frame_size, self.crop_box
        check_range("frame_size", min(full.width, full.height), least=1)
        # Memory is taken for what is cut out, which black bars make larger than the frame.
        across = 1 <= box.width <= max(full.width, _BARS * full.height) and -box.width < box.left < full.width
        down = 1 <= box.height <= max(full.height, _BARS * full.width) and -box.height < box.top < full.height
        if not (across and down):
            raise UserError(f"crop_box is nothing that is cut out of {full.width}x{full.height} pixels")


@dataclass(frozen=True, eq=False)
class Subject:
    """One person's clip, ready for training.

    Attributes:
        name: how it is called on the command line.
        frames: (F, H, W, 3) uint8 RGB, read-only; on disk until it is read.
        poses: F poses in units of those frames.
        fps: frames a second.
        prompt: what the clip shows, the source prompt p_s.
        provenance: where frames and poses come from, plain values.
    """

    name: str
    frames: np.ndarray
    poses: PoseSequence
    fps: Fraction
    prompt: str
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        frames = self.frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"frames must be (F, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
        if len(frames) != len(self.poses):
            raise ValueError(f"{len(frames)} frames cannot have {len(self.poses)} poses")

    @property
    def resolution(self) -> int:
        """The shorter side in pixels."""
        return min(self.size)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return height_width(self.frames)

    @property
    def rendered(self) -> bool:
        """Drawn by `src.people.render`, not filmed."""
        return "rendered" in self.provenance["source"]

    @property
    def source(self) -> str:
        """What tells the clip from others, whatever it is called: SHA-256 of the video; who a rendered person is."""
        source = self.provenance["source"]
        return f"{source['name']} of seed {source['seed']}" if self.rendered else source["sha256"]

    def __len__(self) -> int:
        return len(self.frames)


def load_subject(name: str, root: str | Path) -> Subject:
    """Read a prepared subject.

    Raises:
        UserError: there is none of that name, or its folder is not as `prepare_subject` left it: no links.
    """
    folder = Path(root) / safe_name(name, "the subject's name")
    refuse_links(folder, ("subject.yaml", "frames.npy", "poses.npz"))
    record = read_record(folder)
    try:
        frames, poses = map_npy(folder / "frames.npy"), load_poses(folder / "poses.npz")
        provenance = {key: value for key, value in record.items() if key not in ("name", "prompt")}
        rate = Fraction(record["fps"])
        # Compared as a fraction first, since not every one is a float.
        if not (rate <= FPS_RANGE[1] and float(rate) > 0):
            raise ValueError(f"fps is {record['fps']:.20}: expected above 0 and at most {FPS_RANGE[1]:g}")
        return Subject(name, frames, poses, rate, record["prompt"], provenance)
    except ResourceError as error:
        if error.errno != errno.ENOENT:
            raise
        raise DamagedFile(f"the prepared subject {folder} lacks a file ({error}): {_AGAIN}") from error
    except (ValueError, ZeroDivisionError) as error:
        raise DamagedFile(f"the prepared subject {folder} is damaged ({error}): {_AGAIN}") from error


def resized(subject: Subject, resolution: int) -> Subject:
    """Shrink a subject's frames to that shorter side, its shape kept as far as a longer side of multiples of 64 allows.

    Where it does not, one of the sides loses something at both ends, which is said if it can be seen.
    """
    if resolution == subject.resolution:
        return subject
    if resolution > subject.resolution:
        raise UserError(
            f"subject {subject.name} is prepared at {subject.resolution} pixels, too few for {resolution}: "
            f"prepare its video again with python -m src.prepare video=... name={subject.name} "
            f"data.resolution={resolution}, or set data.resolution={subject.resolution}"
        )
    height, width = subject.size
    size = frame_size("source", resolution, width=width, height=height)
    log.info("subject %s: frames shrunk from %dx%d to %dx%d pixels", subject.name, width, height, *size[::-1])
    box = crop_box(subject.poses, width=width, height=height, mode="center", size=size)
    for side, full, kept in (("width", width, box.width), ("height", height, box.height)):
        if kept < (1 - SEEN_SHARE) * full:
            log.warning(
                "subject %s loses %.0f%% of its %s for %dx%d pixels: at data.resolution=%d no multiple of 64 is "
                "nearer; give a larger one",
                *(subject.name, 100 * (1 - kept / full), side, *size[::-1], resolution),
            )
    frames = collected((crop_frame(frame, box, size) for frame in subject.frames), len(subject), size)
    whole = (box.height, box.width) == subject.size
    poses = subject.poses if whole else crop_poses(subject.poses, box, width=width, height=height)
    return replace(subject, frames=frames, poses=poses)


def check_name(name: str) -> None:
    """Raise UserError unless `name` can be a prepared subject's."""
    if not _NAME.fullmatch(safe_name(name, "the subject's name")):
        raise UserError(f"a subject's name is made of letters, digits, '.', '_' and '-', got {name!r}")
    if _RENDERED_NAME.fullmatch(name):
        raise UserError(f"the name {name} is kept for a rendered person: choose another one")


def check_prompt(prompt: str | None, name: str = "prompt") -> None:
    """Raise UserError where a source or target prompt is given and says nothing.

    Args:
        name: of the setting.
    """
    if prompt is not None and not prompt.strip():
        raise UserError(f"{name}={prompt!r} is blank: say in a line of text what is to be seen, or leave {name}= out")


def read_record(folder: Path) -> dict[str, Any]:
    """What `subject.yaml` of a prepared subject says, checked.

    Raises:
        UserError: there is none, or it is not as `prepare_subject` left it.
    """
    path = folder / "subject.yaml"
    if not path.exists():
        raise UserError(
            f"no prepared subject at {folder}: make it with python -m src.prepare video=... name={folder.name}"
        )
    record = _upgraded(read_yaml(path))
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise DamagedFile(f"{path} is not of version {VERSION}: {_AGAIN}")
    if not isinstance(record.get("prompt"), str) or not record["prompt"].strip():
        raise DamagedFile(f"{path} must hold a prompt, a line of text that says what the clip shows")
    try:
        typed(_Record, record)
    except UserError as error:
        raise DamagedFile(f"{path}: {error}; {_AGAIN}") from error
    return record


def _upgraded(record: Any) -> Any:
    """A record of version 1, all of whose frames were square, as one of this version; any other as it is."""
    match record:
        case {"version": 1, "settings": dict(settings), "crop_box": {"left": left, "top": top, "side": side}}:
            box = {"left": left, "top": top, "width": side, "height": side}
            return record | {"version": VERSION, "settings": {"aspect": "square"} | settings, "crop_box": box}
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `subject.yaml`."""
    with atomic_path(folder / "subject.yaml") as temporary:
        text = yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True, width=1000)
        temporary.write_text("# The prompt may be edited; the rest says how the frames were made.\n" + text, "utf-8")
