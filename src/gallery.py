"""`python -m src.gallery`: everything that can be done with poses, one picture and one short video each."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from src.app.compose import compose_like
from src.app.entry import entry
from src.common.typed import check_choice
from src.data.rendered import SEEDS
from src.media.contact_sheet import contact_sheet, side_by_side
from src.media.video import write_video
from src.showcase.items import KINDS, Workshop
from src.train import train

log = logging.getLogger(__name__)


def gallery(cfg: DictConfig) -> list[Path]:
    """Fine-tune on `cfg.subject` once, then make what is missing of `cfg.pictures` in `cfg.folder`.

    An item is `<name>.png`, rows of target poses and of frames, and `<name>.mp4`, the rows side by side. Delete the
    picture to have both made again; films that several items share, or that an interrupted gallery left, are kept.

    Returns:
        The pictures.

    Raises:
        UserError: bad settings of the gallery or of what it calls.
    """
    folder = Path(cfg.folder)
    check_choice("subject", cfg.subject, tuple(SEEDS))
    for name, item in cfg.pictures.items():
        check_choice(f"pictures.{name}.kind", item.kind, tuple(KINDS))
        check_choice(f"pictures.{name}.driver", item.get("driver", cfg.subject), tuple(SEEDS))
    paths = {name: folder / f"{name}.png" for name in cfg.pictures}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        fine_tune = compose_like("train", cfg)
        fine_tune.merge_with({"subject": cfg.subject, "run_dir": str(folder / "run"), "sample_after_train": False})
        train(fine_tune)
        workshop = Workshop(cfg, folder / "run", folder)
    for name in missing:
        item, picture = cfg.pictures[name], paths[name]
        rows, fps = KINDS[item.kind](workshop, item)
        joined = side_by_side([frames for _, frames in rows], [label for label, _ in rows])
        write_video(picture.with_suffix(".mp4"), joined, fps)
        # The picture comes last: where it is, the item is whole.
        contact_sheet(rows, picture, columns=cfg.columns, cell=cfg.cell, caption=item.caption)
        log.info("made %s", picture)
    log.info("gallery: %s", folder)
    return list(paths.values())


@entry("gallery")
def main(cfg: DictConfig) -> None:
    """Command line."""
    gallery(cfg)


if __name__ == "__main__":
    main()
