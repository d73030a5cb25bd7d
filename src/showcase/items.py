"""The items of the gallery: what is called for each kind, and the rows of pictures that come of it.

Dimensions: F frames of one item, H×W pixels, RGB uint8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from src.app.compose import compose_config, compose_like
from src.common.files import digest
from src.data.rendered import people_subject
from src.media.contact_sheet import Row
from src.media.video import read_video, write_frames
from src.pose.draw import draw_poses
from src.pose.formats import load_fps, load_poses, save_poses
from src.poses import show
from src.repair import repair
from src.runs.run_folder import SUMMARY, load_run
from src.sample import sample

# Of the repaired clip: sides of the blocks that the damage leaves, good frames shown on either side.
_BLOCK, _AROUND = 16, 2


@dataclass(frozen=True)
class Workshop:
    """What the items are made with.

    Attributes:
        cfg: of the gallery: subject, and settings of whatever trains anew.
        run: the subject's finished fine-tune.
        folder: of the gallery.
    """

    cfg: DictConfig
    run: Path
    folder: Path


def films(workshop: Workshop, item: DictConfig) -> tuple[list[Row], float]:
    """`src.sample`, once for each of `item.films` (label: overrides); a row of poses where they change.

    `item.driver` names a rendered person whose frames are shown first.
    """
    rows, fps, shown = [], 10.0, None
    for label, overrides in item.films.items():
        folder = _filmed(workshop, list(overrides))
        poses, fps = load_poses(folder / "poses.npz"), load_fps(folder / "poses.npz")
        frames = read_video(folder / "frames").frames
        if shown is None or not np.array_equal(shown.xy, poses.xy):
            rows.append(("target pose", draw_poses(poses, frames.shape[1:3])))
            shown = poses
        rows.append((label, frames))
    return _driver(item, rows) + rows, fps


def look(workshop: Workshop, item: DictConfig) -> tuple[list[Row], float]:
    """`src.poses show` with `item.overrides`: target poses and the training frames nearest to them."""
    folder = workshop.folder / "looks" / digest(list(item.overrides))[:10]
    _, clip = load_run(workshop.run)
    size = clip.frames.shape[1]
    cfg = compose_config("poses", item.overrides)
    cfg.merge_with({"run": str(workshop.run), "output": str(folder), "data": {"resolution": size}})
    summary = show(cfg)
    nearest = clip.frames[summary["nearest_training_frame"]]
    rows = [("target pose", draw_poses(load_poses(folder / "poses.npz"), size)), ("nearest training frame", nearest)]
    return _driver(item, rows) + rows, summary["fps"]


def mending(workshop: Workshop, item: DictConfig) -> tuple[list[Row], float]:
    """`src.repair` of the subject's first `item.frames` frames, of which `item.segment` has become coarse blocks."""
    first, last = item.segment
    folder = workshop.folder / "repair"
    original = people_subject(workshop.cfg.subject, resolution=load_run(workshop.run)[1].frames.shape[1])
    good, fps = original.frames[: item.frames], float(original.fps)
    damaged = good.copy()
    blocks = good[first : last + 1, _BLOCK // 2 :: _BLOCK, _BLOCK // 2 :: _BLOCK]
    damaged[first : last + 1] = blocks.repeat(_BLOCK, 1).repeat(_BLOCK, 2)
    write_frames(folder / "damaged", damaged)
    save_poses(folder / "poses.npz", original.poses[: item.frames], fps=fps)
    cfg = compose_like("repair", workshop.cfg, ["pose=file"])
    cfg.merge_with({"video": str(folder / "damaged"), "segments": [[first, last]], "run_dir": str(folder / "run")})
    cfg.merge_with({"prompt": original.prompt, "data": {"root": str(folder / "data")}})
    cfg.pose.path = str(folder / "poses.npz")
    repair(cfg)
    repaired = read_video(folder / "run" / "frames").frames
    part = slice(first - _AROUND, last + 1 + _AROUND)
    rows = [("damaged", damaged), ("repaired", repaired), ("undamaged", good)]
    return [(label, frames[part]) for label, frames in rows], fps


KINDS: dict[str, Callable[[Workshop, DictConfig], tuple[list[Row], float]]] = {
    "films": films,
    "look": look,
    "mending": mending,
}


def _filmed(workshop: Workshop, overrides: list[str]) -> Path:
    """Folder of a film, made unless it is there."""
    folder = workshop.folder / "films" / digest(overrides)[:10]
    if not (folder / SUMMARY).is_file():
        cfg = compose_config("sample", overrides)
        cfg.merge_with({"run": str(workshop.run), "output": str(folder)})
        sample(cfg)
    return folder


def _driver(item: DictConfig, rows: list[Row]) -> list[Row]:
    """The row of the item's driver, if it has one, as large as the others."""
    if item.get("driver") is None:
        return []
    frames = rows[0][1]
    return [("driver", people_subject(item.driver, resolution=frames.shape[1]).frames[: len(frames)])]
