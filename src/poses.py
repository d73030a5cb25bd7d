"""`python -m src.poses show poses=… [subject=… | run=…]`: look at target poses before time is spent on filming them."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import DictConfig

from src.app.entry import USER_ERROR_STATUS, entry
from src.common.errors import UserError
from src.common.files import atomic_path, write_json
from src.data.pose_sources import Target, target_poses
from src.data.resolve import resolve_subject
from src.data.split import split_frames
from src.data.subject import ClipSettings
from src.media.contact_sheet import contact_sheet, side_by_side
from src.media.video import write_video
from src.pose.distance import Nearness, nearness
from src.pose.draw import draw_poses
from src.pose.formats import save_poses
from src.pose.keypoints import PoseSequence
from src.pose.tracking import frame_ranges
from src.runs.run_folder import load_run

log = logging.getLogger(__name__)

COMMAND = "show"
FPS = 10.0


@dataclass(frozen=True, eq=False)
class _Subject:
    """The N training frames that the poses are compared with.

    Attributes:
        name: of the subject on the command line.
        frames: (N, S, S, 3) uint8 RGB; training: their poses; fps: of the clip that they come from.
        numbers: of the frames in that clip; of a run, in its training frames.
    """

    name: str
    frames: np.ndarray
    training: PoseSequence
    fps: float
    numbers: list[int]


def show(cfg: DictConfig) -> dict:
    """Write a video of the skeletons, a contact sheet, the poses, and how far they are from the training poses.

    Returns:
        The content of `poses.json`.

    Raises:
        UserError: unreadable poses, an unknown subject or run, or settings that do not go together.
    """
    subject = _subject(cfg)
    name = None if subject is None else subject.name
    target = target_poses(
        cfg,
        resolution=cfg.data.resolution,
        fps=FPS if subject is None else subject.fps,
        training=None if subject is None else subject.training,
        subject=name,
    )
    folder = Path(cfg.output) if cfg.output is not None else Path("outputs/poses") / Path(str(cfg.poses)).stem
    summary = {"poses": str(cfg.poses), "subject": name, "frames": len(target.poses), "fps": target.fps}
    pictures = [("pose", draw_poses(target.poses, cfg.data.resolution))]
    if target.beside is not None:
        pictures.insert(0, target.beside)
    if subject is not None:
        near = nearness(target.poses, subject.training)
        pictures.append(("nearest training frame", subject.frames[near.nearest]))
        summary |= {
            "threshold": near.threshold,
            "far_frames": near.far,
            "distance": [float(d) if np.isfinite(d) else None for d in near.distance],
            "nearest_training_frame": [subject.numbers[i] for i in near.nearest],
        }
        _plot(near, target, folder / "distance.png")
    write_video(
        folder / "poses.mp4", side_by_side([f for _, f in pictures], [label for label, _ in pictures]), target.fps
    )
    contact_sheet(pictures, folder / "contact_sheet.png")
    save_poses(folder / "poses.npz", target.poses, fps=target.fps)
    write_json(folder / "poses.json", summary)
    log.info("video: %s; contact sheet: %s", folder / "poses.mp4", folder / "contact_sheet.png")
    return summary


def _subject(cfg: DictConfig) -> _Subject | None:
    if cfg.run is not None:
        if cfg.subject is not None:
            raise UserError(f"run={cfg.run} and subject={cfg.subject} both say who the poses are for: give one of them")
        trained, clip = load_run(cfg.run)
        return _Subject(str(trained.subject), clip.frames, clip.poses, clip.fps, list(range(len(clip.poses))))
    if cfg.subject is None:
        return None
    clip = resolve_subject(
        str(cfg.subject),
        settings=ClipSettings.from_config(cfg.data),
        root=cfg.data.root,
        extractor=lambda: instantiate(cfg.pose),
    )
    split = split_frames(len(clip), num_train=cfg.data.num_frames, num_test=cfg.data.num_test_frames)
    chosen = list(split.train)
    return _Subject(str(cfg.subject), clip.frames[chosen], clip.poses[chosen], float(clip.fps), chosen)


def _plot(near: Nearness, target: Target, path: Path) -> None:
    """Distance to the nearest training pose over time; far frames are marked."""
    # A figure without pyplot: no global state, no display.
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    frames = np.arange(len(near.distance))
    finite = np.where(np.isfinite(near.distance), near.distance, np.nan)
    axes.plot(frames, finite, color="#2a6f97", marker=".", markersize=3)
    if near.threshold is not None:
        axes.axhline(near.threshold, color="#8a8a8a", linestyle="--", linewidth=1, label="far from training")
        axes.legend(loc="upper right", frameon=False)
    axes.plot(near.far, finite[near.far], "o", color="#c1121f", markersize=4)
    axes.set_xlabel(f"frame ({target.fps:g} a second)")
    axes.set_ylabel("distance (frame widths)")
    title = "Distance to the nearest training pose"
    axes.set_title(f"{title}; far: {frame_ranges(near.far)}" if near.far else title, fontsize=10)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary, matplotlib.rc_context({"font.size": 9}):
        figure.savefig(temporary, dpi=120)


@entry("poses")
def main(cfg: DictConfig) -> None:
    """Command line."""
    show(cfg)


if __name__ == "__main__":
    if sys.argv[1:2] != [COMMAND]:
        given = f"not {sys.argv[1]}" if len(sys.argv) > 1 else "nothing was given"
        sys.stderr.write(f"error: the command is python -m src.poses show poses=... [subject=... | run=...], {given}\n")
        sys.exit(USER_ERROR_STATUS)
    del sys.argv[1]
    main()
