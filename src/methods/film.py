"""A picture of a person and poses in, a video out, by a method that learns no one."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from src.baselines.per_frame import FrameGeometry
from src.common.arrays import height_width
from src.common.digests import digest
from src.common.trainer import TrainerSettings
from src.common.typed import identity, plain
from src.data.crop import CropBox, crop_frame
from src.data.pose_sources import PoseSourceSettings, target_poses
from src.data.resolve import resolve_subject
from src.media.pictures import IMAGE_SUFFIXES, read_image
from src.methods.base import Surroundings
from src.methods.material import check_given, geometry_of, picture_material
from src.methods.registry import build_method
from src.methods.settings import KINDS, AnyMethodSettings
from src.models.settings import ModelSettings
from src.pose.keypoints import PoseSequence
from src.runs.run_folder import RunFolder
from src.runs.samples import video_folder

FPS = 25.0  # where poses come without a rate


def film_picture(
    source: PoseSourceSettings,
    method: AnyMethodSettings,
    *,
    subject: str,
    condition: str | None,
    mask: str | None,
    model: ModelSettings,
    trainer: TrainerSettings,
    seed: int | None,
    output: str | None,
    audio: bool,
) -> dict[str, Any]:
    """Generate the person of a picture in the poses, and write the video.

    Args:
        subject: an image, of which the middle square counts; or a video or subject, of which the first frame does.
        condition, mask: see `picture_material`.
        seed: None: that of the method's public code.
        output: folder; None: `outputs/<subject>_<method>_<name of the poses>`, with a number behind it where a video of
            other settings is there.
        audio: put the sound of the poses' video under the videos, where these have its rate.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: no such subject, unreadable poses, or what the method needs beside them is missing.
    """
    kind = KINDS[method.kind]
    seed = kind.public_seed if seed is None else seed
    built = build_method(method, Surroundings(model=model.in_precision(trainer.precision), trainer=trainer, seed=seed))
    check_given(kind, condition=condition, mask=mask)
    trainer.check_available()
    folder = None if output is None else RunFolder(output)
    if folder is not None:
        folder.check_place()
    picture, geometry, own_poses, own_clip = _picture(source, subject)
    # Where a rendering is followed, poses that are fitted to another body would no longer be those of the rendering.
    fitted = None if kind.conditions else own_poses
    target = target_poses(source, size=height_width(picture), fps=FPS, training=fitted, clip=own_clip)
    material = picture_material(picture, target, kind, condition=condition, mask=mask, geometry=geometry)
    name = "_".join(re.sub(r"[^\w.-]+", "-", Path(part).stem)[:60] for part in (subject, method.name, source.poses))
    said = {"subject": subject, "poses": source.poses, "seed": seed, "method": plain(method)}
    said["key"] = digest([said, plain(source), condition, mask, identity(model, "sampling"), trainer.precision])
    if folder is None:
        folder = video_folder(Path("outputs"), Path(name), said["key"])
        folder.check_place()
    built.load(material)
    with folder.only_writer():
        _, clip = built.film(material, folder, loggers=tuple)
        # At another rate than the poses' the sound would run away from the person.
        sound = target.sound if audio and clip.fps == target.fps else None
        return folder.save_clip(clip, said | {"stand_in": built.stand_in}, beside=target.beside, sound=sound)


def _picture(
    source: PoseSourceSettings, subject: str
) -> tuple[np.ndarray, FrameGeometry, PoseSequence | None, str | None]:
    """(S, S, 3) uint8 RGB, how it was cut out, and poses and source of the clip that it comes from, if from one."""
    size = source.data.resolution
    if Path(subject).suffix.lower() in IMAGE_SUFFIXES and Path(subject).is_file():
        image = read_image(subject)
        height, width = image.shape[:2]
        side = min(height, width)
        box = CropBox((width - side) // 2, (height - side) // 2, side, side)
        return crop_frame(image, box, (size, size)), FrameGeometry(size, (width, height), box), None, None
    found = resolve_subject(
        subject, settings=source.data.square_clip, root=source.data.root, extractor=source.pose.build
    )
    return np.asarray(found.frames[0]), geometry_of(found), found.poses, found.source
