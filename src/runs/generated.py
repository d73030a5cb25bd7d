"""The files of a generated clip.

Dimensions: M target poses, H×W pixels, RGB uint8.

    frames/             without loss
    generated.mp4       the video
    comparison.mp4      pose, generated and, where known, other frames side by side
    contact_sheet.png   the same as a picture, what other ControlNets were shown, and the reference frame
    drift.png           of src.sample: how far it goes from its reference frame over time (`src.runs.drift`)
    poses.npz           target poses
    reference.json      the reference frames, their distances (Eq. 5), parts that were not edited; of our own methods
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.arrays import height_width
from src.common.digests import digest, sha256
from src.common.files import write_json
from src.media.contact_sheet import Row, contact_sheet, side_by_side
from src.media.sound import Soundtrack
from src.media.video import write_frames, write_video
from src.pose.draw import drawings
from src.pose.formats import save_poses
from src.runs.drift import drift, plot_drift
from src.sampling.jobs import GeneratedClip, describe_references

log = logging.getLogger(__name__)
FRAMES, POSES = "frames", "poses.npz"
VIDEO, COMPARISON, SHEET, REFERENCE = "generated.mp4", "comparison.mp4", "contact_sheet.png", "reference.json"
DRIFT = "drift.png"
SHEET_COLUMNS = 8
_LEFT_BY_SYSTEMS = re.compile(r"\..*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
GENERATED = (FRAMES, POSES, VIDEO, COMPARISON, SHEET, REFERENCE, DRIFT)


@dataclass(frozen=True, eq=False, kw_only=True)
class Beside:
    """What a generated clip is written with, where there is any.

    Attributes:
        frames: (M, H, W, 3) of the same poses, true or the driver's, with their label.
        conditions: likewise what ControlNets beside the pose one were shown.
        sound: of both videos.
    """

    frames: Row | None = None
    conditions: Sequence[Row] = ()
    sound: Soundtrack | None = None


def write_generated(folder: Path, clip: GeneratedClip, beside: Beside) -> None:
    """Write video, frames, comparison, contact sheet, poses and what was done with the reference."""
    size = height_width(clip.frames)
    drawn = Row("pose", drawings(clip.poses, size))
    rows = [drawn, Row("generated", clip.frames), *([] if beside.frames is None else [beside.frames])]
    write_frames(folder / FRAMES, clip.frames)
    write_video(folder / VIDEO, clip.frames, clip.fps, sound=beside.sound)
    write_video(folder / COMPARISON, side_by_side(rows), clip.fps, sound=beside.sound)
    shown = [drawn, *beside.conditions, *rows[1:], Row("reference", clip.reference_frame[None])]
    contact_sheet(shown, folder / SHEET, columns=SHEET_COLUMNS)
    save_poses(folder / POSES, clip.poses, fps=clip.fps, size=size)
    if clip.references:
        write_json(folder / REFERENCE, describe_references(clip.references))
    log.info("video: %s; contact sheet: %s", folder / COMPARISON, folder / SHEET)


def write_drift(folder: Path, clip: GeneratedClip) -> dict[str, Any]:
    """Write the drift of a clip from its reference frame as a plot, and return it in figures."""
    found = drift(clip.frames, clip.reference_frame)
    plot_drift(found, folder / DRIFT, fps=clip.fps)
    return found.summary()


def tree_sha256(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and contents of all files in a folder and below; None: nothing there.

    What systems leave in folders that are looked at is no part of them.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if not (file.is_dir() or _LEFT_BY_SYSTEMS.fullmatch(file.name)))
        return digest([[str(file.relative_to(path)), sha256(file)] for file in files])
    return sha256(path) if path.exists() else None
