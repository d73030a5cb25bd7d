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
from src.runs.generated import Beside
from src.runs.run_folder import RunFolder
from src.runs.sample_settings import SampleSettings
from src.runs.samples import video_folder

FPS = 25.0  # where poses come without a rate


def film_picture(
    settings: SampleSettings, method: AnyMethodSettings, model: ModelSettings, trainer: TrainerSettings
) -> dict[str, Any]:
    """Generate the person of a picture in the poses, and write the video.

    The picture is an image, of which the middle square counts, or the first frame of a video or subject. Without
    `output` the folder is `outputs/<subject>_<method>_<name of the poses>`, with a number behind it where a video of
    other settings is there.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: no such subject, unreadable poses, or what the method needs beside them is missing.
    """
    assert settings.subject is not None, "the picture"
    kind, condition, mask = KINDS[method.kind], settings.condition, settings.mask
    seed = kind.public_seed if settings.seed is None else settings.seed
    built = build_method(method, Surroundings(model=model.in_precision(trainer.precision), trainer=trainer, seed=seed))
    check_given(kind, condition=condition, mask=mask)
    trainer.check_available()
    folder = None if settings.output is None else RunFolder(settings.output)
    if folder is not None:
        folder.check_place()
    picture, geometry, own_poses, own_clip = _picture(settings, settings.subject)
    # Where a rendering is followed, poses that are fitted to another body would no longer be those of the rendering.
    fitted = None if kind.conditions else own_poses
    target = target_poses(settings, size=height_width(picture), fps=FPS, training=fitted, clip=own_clip)
    material = picture_material(picture, target, kind, condition=condition, mask=mask, geometry=geometry)
    name = "_".join(
        re.sub(r"[^\w.-]+", "-", Path(part).stem)[:60] for part in (settings.subject, method.name, settings.poses)
    )
    said = {"subject": settings.subject, "poses": settings.poses, "seed": seed, "method": plain(method)}
    said["key"] = digest([said, plain(settings), condition, mask, identity(model, "sampling"), trainer.precision])
    if folder is None:
        folder = video_folder(Path("outputs"), Path(name), said["key"])
        folder.check_place()
    built.load(material)
    with folder.only_writer():
        _, clip = built.film(material, folder, loggers=tuple)
        # At another rate than the poses' the sound would run away from the person.
        sound = target.sound if settings.audio == "driver" and clip.fps == target.fps else None
        return folder.save_clip(clip, Beside(frames=target.beside, sound=sound), said | {"stand_in": built.stand_in})


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
    found = resolve_subject(subject, clip=source.data.square_clip, root=source.data.root, extractor=source.pose.build)
    return np.asarray(found.frames[0]), geometry_of(found), found.poses, found.source
