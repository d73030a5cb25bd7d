"""The gallery: everything that can be done with poses, one picture and one short video each."""

import logging
from pathlib import Path
from typing import Any

from src.common.digests import digest
from src.common.files import read_record, write_json
from src.common.typed import identity, plain
from src.common.writers import only_writer
from src.media.contact_sheet import contact_sheet, side_by_side
from src.media.video import write_video
from src.pose.extractors.settings import FileSettings
from src.runs.generated import tree_sha256
from src.runs.make_run import make_run
from src.runs.run_folder import RunFolder
from src.runs.settings import RunSettings
from src.showcase.items import GalleryContext, make_item
from src.showcase.settings import GallerySettings

log = logging.getLogger(__name__)
_RECORD = "pictures.json"
_WRITTEN = (_RECORD, "runs", "variants", "looks", "repairs")


def gallery(settings: GallerySettings) -> list[Path]:
    """Fine-tune on the subject once, then make what is missing of the pictures, or was made with other settings.

    An item is `<name>.png`, rows of target poses and of frames, and `<name>.mp4`, the rows side by side. Delete the
    picture to have both made again; variants that several items share, or that an interrupted gallery left, are kept,
    and so are the fine-tune and the variants of other settings.

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
    pose = FileSettings(kind="file")  # a rendered person has its poses
    own = RunSettings(**settings.shared(), subject=settings.subject, pose=pose, sample_after_train=False)
    run = RunFolder(folder / "runs" / digest(identity(own, "fine_tune"))[:10])
    context = GalleryContext(settings, run)
    made = read_record(folder / _RECORD) or {}
    missing = [name for name, path in paths.items() if (made.get(name) or {}) != _made(context, path)]
    if missing:
        make_run(own, run)
    for name in missing:
        picture, item = paths[name], settings.pictures[name]
        rows, fps = make_item(context, item)
        write_video(picture.with_suffix(".mp4"), side_by_side(rows), fps)
        contact_sheet(rows, picture, columns=settings.columns, cell=settings.cell, caption=item.caption)
        # The record comes last: what it holds is whole.
        made[name] = _made(context, picture)
        write_json(folder / _RECORD, made)
        log.info("made %s", picture)
    log.info("gallery: %s", folder)
    return list(paths.values())


def _made(context: GalleryContext, picture: Path) -> dict[str, Any] | None:
    """What a picture would be made from now, and what there is of it; None: nobody was learnt yet."""
    settings = context.settings
    key = context.key([plain(settings.pictures[picture.stem]), settings.columns, settings.cell])
    if key is None:
        return None
    return {"key": key, "picture": tree_sha256(picture), "video": tree_sha256(picture.with_suffix(".mp4"))}
