"""The two parts of a subject's clip on disk: what a run was fine-tuned on, and what it was not shown.

Dimensions: N training frames, M held-out frames, H×W pixels, RGB uint8.

    frames/          without loss
    poses.npz        their poses
    clip.json        of the training frames: prompt, frames a second, and of which clip they are
    conditions_0/    images that the first ControlNet beside the pose one was shown, and so on
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.common.arrays import height_width
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import DamagedFile, UserError
from src.common.files import write_json
from src.common.reading import read_json
from src.data.subject_split import SubjectSplit, TrainingClip
from src.media.video import read_video, write_frames
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence
from src.runs.generated import FRAMES, POSES

log = logging.getLogger(__name__)
CLIP, CONDITIONS = "clip.json", "conditions_"


def write_training(folder: Path, clip: TrainingClip) -> None:
    """Write the training clip, whole or not at all."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        _write(temporary, clip.frames, clip.poses, clip.fps, clip.conditions)
        write_json(temporary / CLIP, {"prompt": clip.prompt, "fps": float(clip.fps), "source": clip.source})


def write_held_out(folder: Path, split: SubjectSplit) -> None:
    """Write the held-out frames, whole or not at all."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        _write(temporary, split.test_frames, split.test_poses, split.training.fps, split.test_conditions)


def holds(folder: Path, frames: np.ndarray, poses: PoseSequence) -> bool:
    """Whether a folder of either holds just these frames and poses; says so where it holds others or a part of them."""
    if not folder.is_dir():
        return False
    try:
        same = np.array_equal(read_video(folder / FRAMES).frames, frames)
        same = same and load_poses(folder / POSES).sha256() == poses.sha256()
    except UserError:
        same = False
    if not same:
        log.warning("%s is not as it was written: made again", folder)
    return same


def read_training(folder: Path) -> TrainingClip:
    """Read what `write_training` wrote.

    Raises:
        DamagedFile: it is not as it was written.
    """
    # Runs of before do not say of which clip they are.
    match {"source": None} | record if isinstance(record := read_json(folder / CLIP), dict) else None:
        case {"prompt": str(prompt), "fps": int() | float() as fps, "source": str() | None as source} if (
            0 < fps <= 1000
        ):
            pass
        case _:
            raise DamagedFile(f"{folder / CLIP} must hold a prompt, the frames a second and the clip's source")
    frames, poses = read_video(folder / FRAMES).frames, load_poses(folder / POSES)
    if len(frames) != len(poses):
        raise DamagedFile(
            f"{folder} has {counted(len(frames), 'frame')} and {counted(len(poses), 'pose')}: expected a pose for each"
        )
    return TrainingClip(frames, poses, prompt, float(fps), _read_conditions(folder, frames.shape), source)


def _write(folder: Path, frames: np.ndarray, poses: PoseSequence, fps: float, conditions: Sequence[np.ndarray]) -> None:
    write_frames(folder / FRAMES, frames)
    save_poses(folder / POSES, poses, fps=fps, size=height_width(frames))
    for number, images in enumerate(conditions):
        write_frames(folder / f"{CONDITIONS}{number}", images)


def _read_conditions(folder: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Images of each ControlNet, as many and as large as the frames."""
    found = []
    while (part := folder / f"{CONDITIONS}{len(found)}").is_dir():
        found.append(read_video(part).frames)
        if found[-1].shape != shape:
            raise DamagedFile(f"{part} is not of the size and number of the frames beside it: train the run again")
    return tuple(found)
