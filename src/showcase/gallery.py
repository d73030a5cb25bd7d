"""The gallery: everything that can be done with poses, one picture and one short video each."""

import logging
from dataclasses import fields
from pathlib import Path

from src.common.writers import only_writer
from src.media.contact_sheet import contact_sheet, side_by_side
from src.media.video import write_video
from src.pose.extractors.settings import FileSettings
from src.runs.make_run import make_run
from src.runs.run_folder import RunFolder
from src.runs.settings import LearningSettings, RunSettings
from src.showcase.items import GalleryContext, make_item
from src.showcase.settings import GallerySettings

log = logging.getLogger(__name__)
_WRITTEN = ("run", "variants", "looks", "repair")


def gallery(settings: GallerySettings) -> list[Path]:
    """Fine-tune on the subject once, then make what is missing of the pictures.

    An item is `<name>.png`, rows of target poses and of frames, and `<name>.mp4`, the rows side by side. Delete the
    picture to have both made again; variants that several items share, or that an interrupted gallery left, are kept.

    Returns:
        The pictures.

    Raises:
        UserError: bad settings of what is made.
    """
    folder = Path(settings.folder)
    with only_writer(folder, writes=[*_WRITTEN, *(f"{name}.png" for name in settings.pictures)]):
        return _make(settings, folder)


def _make(settings: GallerySettings, folder: Path) -> list[Path]:
    paths = {name: folder / f"{name}.png" for name in settings.pictures}
    missing = [name for name, path in paths.items() if not path.is_file()]
    run = RunFolder(folder / "run")
    if missing:
        shared = {field.name: getattr(settings, field.name) for field in fields(LearningSettings)}
        pose = FileSettings(kind="file")  # a rendered person has its poses
        make_run(RunSettings(**shared, subject=settings.subject, pose=pose, sample_after_train=False), run)
    context = GalleryContext(settings, run)
    for name in missing:
        picture = paths[name]
        rows, fps = make_item(context, settings.pictures[name])
        write_video(picture.with_suffix(".mp4"), side_by_side(rows), fps)
        # The picture comes last: where it is, the item is whole.
        contact_sheet(
            rows, picture, columns=settings.columns, cell=settings.cell, caption=settings.pictures[name].caption
        )
        log.info("made %s", picture)
    log.info("gallery: %s", folder)
    return list(paths.values())
