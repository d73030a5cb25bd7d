"""A subject: the frames and poses of one person's clip, prepared once and kept on disk.

Dimensions: F frames of S x S pixels.

    data/<name>/subject.yaml   prompt and provenance; the prompt may be edited by hand
    data/<name>/frames.npy     (F, S, S, 3) uint8 RGB
    data/<name>/poses.npz      the keypoints in units of those frames
    data/<name>/sheet.png      what was prepared, to look at
    data/.poses/<key>.npz      keypoints of the full frame, so that another crop or resolution needs no detector
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig

from src.common.errors import UserError
from src.common.files import atomic_path, digest, sha256
from src.common.progress import track
from src.data.crop import CROP_MODES, CropBox, CropMode, crop_box, crop_frame, crop_poses
from src.media.contact_sheet import contact_sheet, spread
from src.media.video import IMAGE_SUFFIXES, VideoReader
from src.pose.draw import draw_overlay
from src.pose.extractors.base import PoseExtractor
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

VERSION = 1
DEFAULT_PROMPT = "a photo of a person"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RENDERED_NAME = re.compile(r"people_[0-9]+")


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What of a video is prepared, and how.

    Attributes:
        resolution: S, the side of the prepared frames in pixels.
        crop: see `src.data.crop.crop_box`.
        fps: read the video at this many frames a second; None: its own rate.
        start: first frame, counted at `fps`.
        max_frames: read at most this many frames; None: all.
    """

    resolution: int
    crop: CropMode = "person"
    fps: float | None = None
    start: int = 0
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.resolution < 1 or self.start < 0 or (self.max_frames is not None and self.max_frames < 1):
            raise UserError(
                "data.resolution and data.max_frames must be at least 1 and data.start at least 0, got "
                f"{self.resolution}, {self.max_frames} and {self.start}"
            )
        if self.crop not in CROP_MODES:
            raise UserError(f"data.crop must be one of {', '.join(CROP_MODES)}, got {self.crop}")

    @staticmethod
    def from_config(data: DictConfig) -> "ClipSettings":
        """Take the settings out of the config group `data`."""
        return ClipSettings(
            resolution=data.resolution, crop=data.crop, fps=data.fps, start=data.start, max_frames=data.max_frames
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """One person's clip, ready for training.

    Attributes:
        name: how it is called on the command line.
        frames: (F, S, S, 3) uint8 RGB, read-only; on disk until it is read.
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
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3:
            raise ValueError(f"frames must be (F, S, S, 3) uint8, got {frames.shape} {frames.dtype}")
        if len(frames) != len(self.poses):
            raise ValueError(f"{len(frames)} frames cannot have {len(self.poses)} poses")

    @property
    def resolution(self) -> int:
        return self.frames.shape[1]

    @property
    def rendered(self) -> bool:
        """Drawn by `src.people.render`, not filmed."""
        return "rendered" in self.provenance["source"]

    def __len__(self) -> int:
        return len(self.frames)


def prepare_subject(
    video: str | Path,
    *,
    name: str,
    extractor: PoseExtractor,
    settings: ClipSettings,
    root: str | Path,
    prompt: str | None = None,
    force: bool = False,
) -> Subject:
    """Bring a video into the form that training reads, or find that this was done before.

    The video is read twice, frame by frame: for the poses, which decide the crop, and for the crop. A
    subject of that name is used again if content, settings and extractor are the same, and made again if
    settings or extractor changed; its prompt stays unless another one is given.

    Args:
        video: video file or folder of images.
        prompt: None keeps the one on disk, or `DEFAULT_PROMPT` for a new subject.
        force: make everything again, poses included, and allow another clip to take over the name.

    Raises:
        UserError: unreadable video, no person found, an unusable name, or a name that another clip has.
    """
    video, folder = Path(video), Path(root) / name
    check_name(name)
    made_from = {
        "source": {"name": video.name, "sha256": content_sha256(video)},
        "settings": asdict(settings),
        "extractor": {"name": extractor.name, "fingerprint": extractor.fingerprint()},
    }
    if (folder / "subject.yaml").exists():
        record = _read_record(folder)
        same_clip = record["source"]["sha256"] == made_from["source"]["sha256"]
        if not force and not same_clip:
            raise UserError(
                f"the name {name} belongs to another clip, {record['source']['name']}: choose another name, or replace "
                f"that subject with python -m src.prepare video={video} name={name} force=true"
            )
        prompt = prompt or (record["prompt"] if same_clip else None)
        changed = _changes(record, made_from)
        if not changed and not force:
            log.info("subject %s is prepared already, in %s", name, folder)
            if prompt != record["prompt"]:
                _write_record(folder, {**record, "prompt": prompt})
            return load_subject(name, root)
        log.info("subject %s is prepared again: %s", name, ", ".join(changed) or "force=true")
    elif folder.exists():
        raise UserError(f"{folder} exists and is no prepared subject: choose another name=, or move that folder away")

    reader = VideoReader(
        video,
        start=settings.start,
        stop=None if settings.max_frames is None else settings.start + settings.max_frames,
        fps=settings.fps,
    )
    full_poses = _full_frame_poses(reader, extractor, made_from, root=Path(root), force=force)
    size = {"width": reader.width, "height": reader.height}
    box = crop_box(full_poses, **size, mode=settings.crop, min_side=settings.resolution)
    log.info("crop of %s: %d pixels square at (%d, %d) of %dx%d", video, box.side, box.left, box.top, *size.values())
    poses = crop_poses(full_poses, box, **size)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        cropped = (crop_frame(frame, box, settings.resolution) for frame in track(reader, "cropping", len(reader)))
        _write_npy(temporary / "frames.npy", cropped, (len(reader), settings.resolution, settings.resolution, 3))
        frames = np.load(temporary / "frames.npy", mmap_mode="r")
        save_poses(temporary / "poses.npz", poses, fps=float(reader.fps))
        shown = spread(len(frames), 10)
        overlay = draw_overlay(frames[shown], poses[shown])
        contact_sheet([("frames", frames[shown]), ("poses", overlay)], temporary / "sheet.png")
        result = {"num_frames": len(reader), "fps": str(reader.fps), "frame_size": size, "crop_box": asdict(box)}
        head = {"version": VERSION, "name": name, "prompt": prompt or DEFAULT_PROMPT}
        _write_record(temporary, {**head, **made_from, **result})
    log.info("prepared %d frames as subject %s; look at %s", len(reader), name, folder / "sheet.png")
    return load_subject(name, root)


def load_subject(name: str, root: str | Path) -> Subject:
    """Read a prepared subject.

    Raises:
        UserError: there is none of that name, or its folder is not as `prepare_subject` left it.
    """
    folder = Path(root) / name
    record = _read_record(folder)
    try:
        frames = np.load(folder / "frames.npy", mmap_mode="r")
        poses = load_poses(folder / "poses.npz")
        provenance = {key: value for key, value in record.items() if key not in ("name", "prompt")}
        return Subject(name, frames, poses, Fraction(record["fps"]), record["prompt"], provenance)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"the prepared subject {folder} is damaged ({error}): delete it and prepare it again"
        ) from error


def resized(subject: Subject, resolution: int) -> Subject:
    """Shrink a subject's frames; poses are in units of the frame and stay."""
    if resolution == subject.resolution:
        return subject
    if resolution > subject.resolution:
        raise UserError(
            f"subject {subject.name} is prepared at {subject.resolution} pixels, too few for {resolution}: "
            f"prepare its video again with python -m src.prepare video=... name={subject.name} "
            f"data.resolution={resolution}, or set data.resolution={subject.resolution}"
        )
    log.info("subject %s: frames shrunk from %d to %d pixels", subject.name, subject.resolution, resolution)
    whole = CropBox(0, 0, subject.resolution)
    return replace(subject, frames=np.stack([crop_frame(frame, whole, resolution) for frame in subject.frames]))


def check_name(name: str) -> None:
    """Raise UserError unless `name` can be a prepared subject's."""
    if not _NAME.fullmatch(name):
        raise UserError(f"a subject's name is made of letters, digits, '.', '_' and '-', got {name!r}")
    if _RENDERED_NAME.fullmatch(name):
        raise UserError(f"the name {name} is kept for a rendered person: choose another one")


def content_sha256(video: Path) -> str:
    """Hexadecimal SHA-256 of a video file, or of the names and contents of a folder's images."""
    if not video.exists():
        raise UserError(f"no video at {video}: expected a video file or a folder of images")
    if not video.is_dir():
        return sha256(video)
    images = sorted(path for path in video.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return digest([[path.name, sha256(path)] for path in images])


def _full_frame_poses(
    reader: VideoReader, extractor: PoseExtractor, made_from: dict[str, Any], *, root: Path, force: bool
) -> PoseSequence:
    reading = {key: made_from["settings"][key] for key in ("fps", "start", "max_frames")}
    key = digest([VERSION, made_from["source"]["sha256"], reading, made_from["extractor"]])[:24]
    cached = root / ".poses" / f"{key}.npz"
    if cached.exists() and not force:
        log.info("poses of %s were extracted before: %s", reader.path, cached)
        return load_poses(cached)
    poses = extractor.extract(reader, total=len(reader))
    if len(poses) != len(reader):
        raise UserError(f"{extractor.name} has {len(poses)} poses for the {len(reader)} frames of {reader.path}")
    save_poses(cached, poses, fps=float(reader.fps))
    return poses


def _write_npy(path: Path, frames: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write uint8 frames one after another; unlike a memory map, a full disk raises OSError here."""
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for frame in frames:
            file.write(frame.tobytes())


def _changes(record: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs in settings and extractor, in words."""
    old = {**record["settings"], "pose": record["extractor"]["name"]}
    new = {**wanted["settings"], "pose": wanted["extractor"]["name"]}
    changes = [f"{key} {old.get(key)} -> {new[key]}" for key in new if old.get(key) != new[key]]
    if not changes and record["extractor"] != wanted["extractor"]:
        changes = [f"{wanted['extractor']['name']} has other settings or weights"]
    return changes


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / "subject.yaml"
    if not path.exists():
        raise UserError(
            f"no prepared subject at {folder}: make it with python -m src.prepare video=... name={folder.name}"
        )
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise UserError(f"{path} is not of version {VERSION}: delete {folder} and prepare it again")
    if not isinstance(record.get("prompt"), str) or not record["prompt"].strip():
        raise UserError(f"{path} must hold a prompt, a line of text that says what the clip shows")
    if missing := {"source", "settings", "extractor", "fps"} - record.keys():
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: delete {folder} and prepare it again")
    return record


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    with atomic_path(folder / "subject.yaml") as temporary:
        text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=1000)
        temporary.write_text("# The prompt may be edited; the rest says how the frames were made.\n" + text, "utf-8")
