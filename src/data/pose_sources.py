"""Target poses from whatever `poses=` names, made to fit the subject: what `src.sample` and `src.poses` share."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.common.errors import UserError
from src.common.paths import PACKAGE_ROOT
from src.common.typed import check_choice, typed
from src.data.resolve import resolve_subject
from src.data.subject import ClipSettings, Subject, content_sha256, load_subject
from src.pose.distance import nearness
from src.pose.formats import load_fps, load_poses
from src.pose.keypoints import PoseSequence
from src.pose.retarget import MODES, retarget
from src.pose.script import SUFFIXES, load_script, perform_script
from src.pose.smooth import SmoothSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be filmed.

    Attributes:
        poses: M poses in units of the subject's frames.
        fps: frames a second.
        beside: label and (M, H, W, 3) uint8 RGB frames that the poses were taken from, where there are any.
    """

    poses: PoseSequence
    fps: float
    beside: tuple[str, np.ndarray] | None


def target_poses(
    cfg: DictConfig, *, resolution: int, fps: float, training: PoseSequence | None, subject: str | None
) -> Target:
    """Read the poses, smooth them as `smooth` says, and retarget them as `retarget` says; warn of far ones.

    Args:
        cfg: with `poses` (video, subject, keypoints file or pose script), `pose_script.frame`, `retarget`, `smooth`,
            and the groups `data` and `pose`.
        resolution: S of the frames in pixels.
        fps: where the source does not say.
        training: poses of the subject's N training frames, None if no subject is at hand.
        subject: what the subject is called on the command line, None as above.

    Raises:
        UserError: unreadable poses, or settings that do not go together.
    """
    if cfg.retarget is not None:
        check_choice("retarget", cfg.retarget, MODES)
    smooth = typed(SmoothSettings, cfg.smooth, "smooth")
    source = Path(str(cfg.poses))
    beside, is_other = None, False
    if source.suffix in SUFFIXES:
        if training is None:
            raise UserError(f"the pose script {source} edits a pose of a subject: give subject=")
        poses = perform_script(load_script(_shipped(source)), training, frame=cfg.pose_script.frame)
    elif cfg.pose_script.frame is not None:
        raise UserError(f"pose_script.frame={cfg.pose_script.frame} needs a pose script, and poses={source} is none")
    elif source.suffix in (".npz", ".json") or (source.is_dir() and any(source.glob("*.json"))):
        poses, fps = load_poses(source), load_fps(source) or fps
    else:
        cfg.data.resolution = resolution
        driver = resolve_subject(
            str(cfg.poses),
            settings=ClipSettings.from_config(cfg.data),
            root=cfg.data.root,
            extractor=lambda: instantiate(cfg.pose),
        )
        poses, fps, beside = driver.poses, float(driver.fps), ("driver", driver.frames)
        is_other = subject is not None and not _same_clip(driver, subject, cfg.data.root)
    if not poses.mask.any():
        raise UserError(f"poses={source} shows no person in any frame")
    poses = smooth.apply(poses, fps)
    if training is None:
        if cfg.retarget not in (None, "none"):
            raise UserError(f"retarget={cfg.retarget} needs the subject whose body the poses are to fit: give subject=")
        return Target(poses, fps, beside)
    mode = cfg.retarget or ("bones" if is_other else "none")
    why = (
        "as given" if cfg.retarget else f"the poses are {'another person' if is_other else 'not known to be another'}'s"
    )
    log.info("retarget=%s (%s)", mode, why)
    poses = retarget(poses, training, mode)
    near = nearness(poses, training)
    log.log(logging.WARNING if near.far else logging.INFO, "%s", near.describe())
    return Target(poses, fps, beside)


def _shipped(path: Path) -> Path:
    """A script of the package where the working directory has none of that name."""
    return path if path.exists() or not (PACKAGE_ROOT / path).exists() else PACKAGE_ROOT / path


def _same_clip(driver: Subject, subject: str, root: str) -> bool:
    """Whether the driver is the clip that a run calls `subject`."""
    path = Path(subject)
    if driver.name in (subject, path.name):
        return True
    digest = driver.provenance["source"].get("sha256")
    if digest is None:
        return False
    for folder, name in ((Path(root), subject), (path.parent, path.name)):
        if (folder / name / "subject.yaml").exists():
            return load_subject(name, folder).provenance["source"]["sha256"] == digest
    return path.exists() and content_sha256(path) == digest
