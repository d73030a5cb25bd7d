"""Bring a video into the form that training reads.

Dimensions: F frames of H x W pixels.
"""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.common.atomic import atomic_path, clear_leftovers
from src.common.counting import counted
from src.common.digests import digest, sha256
from src.common.errors import DamagedFile, UserError, in_one_line
from src.common.progress import track
from src.common.reading import check_encoding
from src.common.writers import only_writer, refuse_links
from src.data.crop import check_crop, crop_box, crop_frame, crop_poses, frame_size, shape_warning
from src.data.people_sheet import people_sheet
from src.data.subject import (
    DEFAULT_PROMPT,
    VERSION,
    ClipSettings,
    Subject,
    check_name,
    check_prompt,
    load_subject,
    read_record,
    write_record,
)
from src.media.contact_sheet import Row, contact_sheet, evenly_spaced
from src.media.pictures import images_in
from src.media.read_as import is_mirrored
from src.media.video import VideoReader
from src.pose.draw import draw_overlay
from src.pose.extractors.base import PoseExtractor
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)
_POSES_VERSION = 1
LOCKS, POSES, PEOPLE = ".locks", ".poses", "people.png"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How videos are prepared, and where.

    Attributes:
        clip: what of a video is taken, and how.
        extractor: of the poses.
        root: folder of the prepared subjects.
        prompt: None keeps the one on disk, or `DEFAULT_PROMPT` for a new subject.
        force: make everything again, poses included, and allow another clip to take over the name.
    """

    clip: ClipSettings
    extractor: PoseExtractor
    root: str | Path
    prompt: str | None = None
    force: bool = False


def prepare_subject(video: str | Path, recipe: Recipe, *, name: str, replace: bool = True) -> Subject:
    """Bring a video into the form that training reads, or find that this was done before.

    The video is read twice, frame by frame: for the poses, which decide the crop, and for the crop. A
    subject of that name is used again if content, settings and extractor are the same, and made again if
    settings or extractor changed; its prompt stays unless another one is given.

    Args:
        video: video file or folder of images.
        replace: a subject of that name which was made of the same clip with other settings; False leaves it as it is,
            and prepares this one beside it, under a name of its own that the same settings find again.

    Raises:
        UserError: unreadable video, no person found, an unusable name, or a name that another clip has.
    """
    video, root, extractor = Path(video), Path(recipe.root), recipe.extractor
    folder = root / name
    check_encoding([video])
    check_name(name)
    check_prompt(recipe.prompt)
    made_from = {
        "source": {"name": video.name, "sha256": content_sha256(video)} | _mirrored(video),
        "settings": asdict(recipe.clip),
        "extractor": {"name": extractor.name, "fingerprint": extractor.fingerprint()},
    }
    refuse_links(root, (POSES, Path(LOCKS, name)))
    clear_leftovers(root, below=False)

    def find(*, tell: bool) -> tuple[Path, Subject | str | None]:
        there, own_prompt = (folder, None) if replace else _not_to_replace(folder, made_from)
        kept = _kept(there, made_from, recipe, tell=tell)
        return there, own_prompt if kept is None else kept

    if isinstance(found := find(tell=False)[1], Subject):
        return found
    with only_writer(root / LOCKS / name, wait=True):
        # Another process may have prepared it meanwhile.
        there, found = find(tell=True)
        if isinstance(found, Subject):
            return found
        if there != folder:
            log.info(
                "subject %s stays as this clip was prepared before: with these settings it is %s", name, there.name
            )
        return _prepare(video, made_from, there, recipe, prompt=found)


def _prepare(video: Path, made_from: dict[str, Any], folder: Path, recipe: Recipe, *, prompt: str | None) -> Subject:
    settings, root, name = recipe.clip, folder.parent, folder.name
    reader = VideoReader(
        video,
        start=settings.start,
        stop=None if settings.max_frames is None else settings.start + settings.max_frames,
        fps=settings.fps,
    )
    size = {"width": reader.width, "height": reader.height}
    check_crop(settings.crop, **size)
    full_poses, people = _full_frame_poses(reader, made_from, recipe)
    shape = frame_size(settings.aspect, settings.resolution, **size)
    box = crop_box(full_poses, **size, mode=settings.crop, size=shape)
    log.info(
        "crop of %s: %dx%d pixels at (%d, %d) of %dx%d, made %dx%d",
        *(video, box.width, box.height, box.left, box.top, *size.values(), *shape[::-1]),
    )
    if warning := shape_warning(settings.aspect, settings.resolution, box, shape):
        log.warning("%s", warning)
    poses = crop_poses(full_poses, box, **size)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        cropped = (crop_frame(frame, box, shape) for frame in track(reader, "cropping", len(reader)))
        _write_npy(temporary / "frames.npy", cropped, (len(reader), *shape, 3))
        frames = np.load(temporary / "frames.npy", mmap_mode="r")
        save_poses(temporary / "poses.npz", poses, fps=float(reader.fps), size=shape)
        shown = evenly_spaced(len(frames), 10)
        overlay = draw_overlay(frames[shown], poses[shown])
        contact_sheet([Row("frames", frames[shown]), Row("poses", overlay)], temporary / "sheet.png")
        if people.exists():
            shutil.copyfile(people, temporary / PEOPLE)
            log.info("several people: %s shows them with their numbers, for pose.person=<number>", folder / PEOPLE)
        result = {"num_frames": len(reader), "fps": str(reader.fps), "frame_size": size, "crop_box": asdict(box)}
        head = {"version": VERSION, "name": name, "prompt": prompt or DEFAULT_PROMPT}
        write_record(temporary, {**head, **made_from, **result})
    log.info("prepared %s as subject %s; look at %s", counted(len(reader), "frame"), name, folder / "sheet.png")
    return load_subject(name, root)


def _kept(folder: Path, made_from: dict[str, Any], recipe: Recipe, *, tell: bool) -> Subject | str | None:
    """The subject that is prepared already, or the prompt that it is to be prepared with again.

    Args:
        tell: log why it is prepared again.
    """
    prompt, force = recipe.prompt, recipe.force
    # In this order: another process may put the whole of it there meanwhile.
    if not folder.exists():
        return prompt
    if not (folder / "subject.yaml").exists():
        raise UserError(f"{folder} exists and is no prepared subject: choose another name=, or move it away")
    name = folder.name
    try:
        record = read_record(folder)
        same_clip = record["source"]["sha256"] == made_from["source"]["sha256"]
    except DamagedFile:
        if not force:
            raise
        return prompt
    if not force and not same_clip:
        raise UserError(
            f"the name {name} belongs to another clip, {record['source']['name']}: choose another name, or replace "
            "that subject by force=true of python -m src.prepare"
        )
    prompt = prompt or (record["prompt"] if same_clip else None)
    changed = _changes(record, made_from)
    if not changed and not force:
        try:
            subject = load_subject(name, folder.parent)
        except DamagedFile as error:
            if tell:
                log.warning("%s", error)
            return prompt
        log.info("subject %s is prepared already, in %s", name, folder)
        if prompt != record["prompt"]:
            write_record(folder, {**record, "prompt": prompt})
            return load_subject(name, folder.parent)
        return subject
    if tell:
        log.info("subject %s is prepared again: %s", name, ", ".join(changed) or "force=true")
    return prompt


def _not_to_replace(folder: Path, made_from: dict[str, Any]) -> tuple[Path, str | None]:
    """A folder where no subject of the same clip is replaced by one of other settings, and the prompt of that one."""
    if not (folder / "subject.yaml").exists():
        return folder, None
    record = read_record(folder)
    if record["source"]["sha256"] != made_from["source"]["sha256"] or not _changes(record, made_from):
        return folder, None
    own = digest([made_from["settings"], made_from["extractor"]])[:6]
    return folder.with_name(f"{folder.name}-{own}"), record["prompt"]


def content_sha256(video: Path) -> str:
    """Hexadecimal SHA-256 of a video file, or of the names and contents of the images that are read of a folder."""
    with in_one_line(video, "read"):
        there = video.exists()
    if not there:
        raise UserError(f"no video at {video}: expected a video file or a folder of images")
    if not video.is_dir():
        return sha256(video)
    return digest([[path.name, sha256(path)] for path in sorted(images_in(video))])


def _mirrored(video: Path) -> dict[str, bool]:
    # Said only where it is so: what was made of other videos stays as it is, and what lacks it of a mirrored one is of
    # the time when such were read upside down.
    return {"mirrored": True} if video.is_file() and is_mirrored(video) else {}


def _full_frame_poses(reader: VideoReader, made_from: dict[str, Any], recipe: Recipe) -> tuple[PoseSequence, Path]:
    """Poses of the full frames, and where the picture of all people lies if there are several."""
    extractor, folder = recipe.extractor, Path(recipe.root) / POSES
    reading = {key: made_from["settings"][key] for key in ("fps", "start", "max_frames")}
    content, mirrored = made_from["source"]["sha256"], ["mirrored"] if made_from["source"].get("mirrored") else []
    key = digest([_POSES_VERSION, content, reading, made_from["extractor"], *mirrored])[:24]
    cached, people, kept = (folder / f"{key}.{suffix}" for suffix in ("npz", "png", "people.npz"))
    if cached.exists() and not recipe.force:
        try:
            found = load_poses(cached)
            if len(found) != len(reader):
                raise DamagedFile(
                    f"{cached} has {counted(len(found), 'pose')} for the {counted(len(reader), 'frame')} of "
                    f"{reader.path}"
                )
        except DamagedFile as error:
            log.warning("%s: the poses are extracted again", error)
        else:
            log.info("poses of %s were extracted before: %s", reader.path, cached)
            return found, people
    if extractor.caution:
        log.warning("%s", extractor.caution)
    if recipe.force:
        kept.unlink(missing_ok=True)
    # Of this clip alone: the extractor may read others, which nobody keeps.
    extractor.kept = kept
    try:
        poses = extractor.extract(reader, total=len(reader))
    finally:
        extractor.kept = None
    if len(poses) != len(reader):
        kept.unlink(missing_ok=True)
        raise UserError(
            f"{extractor.name} has {counted(len(poses), 'pose')} for the {counted(len(reader), 'frame')} of "
            f"{reader.path}"
        )
    if extractor.crowd is not None and len(extractor.crowd.people) > 1:
        people_sheet(track(reader, "numbering people", len(reader)), extractor.crowd, people)
    save_poses(cached, poses, fps=float(reader.fps), size=(reader.height, reader.width))
    kept.unlink(missing_ok=True)
    return poses, people


def _write_npy(path: Path, frames: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write uint8 frames one after another; unlike a memory map, a full disk raises OSError here."""
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for frame in frames:
            file.write(frame.tobytes())


def _changes(record: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs in settings, extractor and how the video is read, in words."""
    old = {**record["settings"], "pose": record["extractor"]["name"]}
    new = {**wanted["settings"], "pose": wanted["extractor"]["name"]}
    changes = [f"{key} {old.get(key)} -> {new[key]}" for key in new if old.get(key) != new[key]]
    if not changes and record["extractor"] != wanted["extractor"]:
        changes = [f"{wanted['extractor']['name']} has other settings or weights"]
    if record["source"].get("mirrored", False) != wanted["source"].get("mirrored", False):
        changes.append("its video is shown mirrored, and was not read so")
    return changes
