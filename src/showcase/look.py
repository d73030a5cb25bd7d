"""A look at target poses: skeletons, the nearest training frames, and how far they are from anything seen in training.

Dimensions: N training frames, M target poses, H×W pixels; RGB uint8.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.common.arrays import MadeFrames, height_width
from src.common.atomic import atomic_path
from src.common.counting import frame_ranges
from src.common.files import read_record, write_json
from src.common.writers import free_folder, only_writer
from src.data.pose_sources import TargetPoses, target_poses
from src.data.resolve import resolve_subject
from src.data.subject_split import TrainingClip, split_subject
from src.media.contact_sheet import Row, contact_sheet, side_by_side
from src.media.video import write_video
from src.pose.distance import DistanceToTraining, distance_to_training
from src.pose.draw import drawings
from src.pose.formats import save_poses
from src.runs.run_folder import RunFolder
from src.showcase.settings import LookSettings

log = logging.getLogger(__name__)
FPS = 10.0
PLOT, VIDEO, SHEET = "distance.png", "poses.mp4", "contact_sheet.png"
POSES, RECORD = "poses.npz", "poses.json"
FOLDER = Path("outputs/poses")
WRITTEN = (PLOT, VIDEO, SHEET, POSES, RECORD)


@dataclass(frozen=True, eq=False)
class _Subject:
    """Whom the poses are compared with.

    Attributes:
        name: on the command line.
        clip: the N training frames.
        numbers: of these in the clip that they come from; of a run, in its training frames.
    """

    name: str
    clip: TrainingClip
    numbers: list[int]


def own_folder(poses: str) -> Path:
    """The folder of a look at poses: `outputs/poses/<their name>`, with a number where the look at others is.

    The same poses have the same folder, also where they have changed: looking again is what a look is for.

    Args:
        poses: what the command line calls them.
    """

    def poses_of(folder: Path) -> str | None:
        known = (read_record(folder / RECORD) or {}).get("poses")
        return os.path.abspath(known) if isinstance(known, str) else None

    given = os.path.abspath(poses)
    return free_folder(FOLDER, Path(Path(given).stem), poses_of, given)


def look(settings: LookSettings, folder: Path) -> dict[str, Any]:
    """Write a video of the skeletons, a contact sheet, the poses, and how far they are from the training poses.

    Args:
        folder: of the files.

    Returns:
        The content of `poses.json`.

    Raises:
        UserError: unreadable poses, an unknown subject or run, or settings that do not go together.
    """
    subject = _subject(settings)
    name, clip = (None, None) if subject is None else (subject.name, subject.clip)
    target = target_poses(
        settings,
        size=None if clip is None else height_width(clip.frames),
        fps=FPS if clip is None else clip.fps,
        training=None if clip is None else clip.poses,
        clip=None if clip is None else clip.source,
    )
    summary: dict[str, Any] = {"poses": settings.poses, "subject": name, "frames": len(target.poses), "fps": target.fps}
    size = target.size or (settings.data.resolution, settings.data.resolution)
    rows = [Row("pose", drawings(target.poses, size))]
    if target.beside is not None:
        rows.insert(0, target.beside)
    distance = None
    if subject is not None:
        frames, distance = subject.clip.frames, distance_to_training(target.poses, subject.clip.poses)
        nearest = distance.nearest
        rows.append(Row("nearest training frame", MadeFrames(lambda i: frames[nearest[i]], len(nearest), size)))
        summary |= {
            "threshold": distance.threshold,
            "far_frames": distance.far,
            "distance": [float(d) if np.isfinite(d) else None for d in distance.distance],
            "nearest_training_frame": [subject.numbers[i] for i in nearest],
        }
    with only_writer(folder, writes=WRITTEN):
        if distance is not None:
            _plot(distance, target, folder / PLOT)
        else:
            # Of another look.
            (folder / PLOT).unlink(missing_ok=True)
        write_video(folder / VIDEO, side_by_side(rows), target.fps)
        contact_sheet(rows, folder / SHEET)
        save_poses(folder / POSES, target.poses, fps=target.fps, size=target.size)
        write_json(folder / RECORD, summary)
    log.info("video: %s; contact sheet: %s", folder / VIDEO, folder / SHEET)
    return summary


def _subject(settings: LookSettings) -> _Subject | None:
    if settings.run is not None:
        run = RunFolder(settings.run)
        # The settings first: what they refuse is not read.
        name, clip = run.settings().subject, run.training()
        return _Subject(name, clip, list(range(len(clip.poses))))
    if settings.subject is None:
        return None
    data = settings.data
    how = {"clip": data.clip, "root": data.root, "extractor": settings.pose.build}
    found = resolve_subject(settings.subject, **how, smaller=True)
    split = split_subject(found, data)
    return _Subject(settings.subject, split.training, split.training_indices)


def _plot(distance: DistanceToTraining, target: TargetPoses, path: Path) -> None:
    """Distance to the nearest training pose over time; far frames are marked."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # A figure without pyplot: no global state, no display.
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    frames = np.arange(len(distance.distance))
    finite = np.where(np.isfinite(distance.distance), distance.distance, np.nan)
    axes.plot(frames, finite, color="#2a6f97", marker=".", markersize=3)
    if distance.threshold is not None:
        axes.axhline(distance.threshold, color="#8a8a8a", linestyle="--", linewidth=1, label="far from training")
        axes.legend(loc="best")
    axes.plot(distance.far, finite[distance.far], "o", color="#c1121f", markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"frame ({target.fps:g} a second)")
    axes.set_ylabel("distance (share of the frame)")
    title = "Distance to the nearest training pose"
    axes.set_title(f"{title}; far: {frame_ranges(distance.far, limit=8)}" if distance.far else title, fontsize=10)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary, matplotlib.rc_context({"font.size": 9}):
        figure.savefig(temporary, dpi=120)
