"""What a run leaves behind, and how a finished run is read again.

Dimensions: N training frames, M target poses, H×W pixels, RGB uint8.
"""

import contextlib
import datetime
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.common.errors import UserError
from src.common.files import atomic_path, read_json, write_json
from src.media.contact_sheet import contact_sheet, side_by_side
from src.media.video import read_video, write_frames, write_video
from src.pose.draw import draw_poses
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence
from src.runs.provenance import IRRELEVANT, arrays_sha256, plain_settings, poses_sha256

log = logging.getLogger(__name__)
CONFIG, ADAPTER, COST = "config.yaml", "adapter.safetensors", "fine_tune.json"
TRAINING, HELD_OUT = "training", "held_out"
SUMMARY = "summary.json"
# What makes the saved config a primary config of Hydra's: a run repeats with --config-path <run> --config-name config.
_HYDRA = {
    "defaults": [{"override hydra/job_logging": "stdout"}, "_self_"],
    "hydra": {"run": {"dir": "."}, "output_subdir": None},
}


def choose_run_dir(cfg: DictConfig) -> Path:
    """`run_dir`, or a new folder named after subject, method and time; in a sweep, the job's own folder."""
    if cfg.run_dir is not None:
        return Path(cfg.run_dir)
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return Path(HydraConfig.get().runtime.output_dir)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(cfg.subject).stem).strip("-.")
    return Path("outputs") / f"{name}_{cfg.method.name}_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder of results while this one writes there.

    A lock on a file does it, which the system lets go of when the process ends, killed or not.

    Raises:
        UserError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"another process is writing into {folder}: wait until it has finished, or choose another folder (if none "
            "is, which a file system without locks cannot tell after a kill, delete the file .lock there)"
        ) from None
    except NotImplementedError:
        log.warning("the file system of %s has no locks: see to it that no second process writes there", folder)
    try:
        yield
    finally:
        lock.release()


def overrides() -> list[str]:
    """What this run's command line says, or its job's in a sweep; empty where nobody used one."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def save_config(folder: Path, cfg: DictConfig) -> None:
    """Write the run's config, resolved but for what follows the run folder, so that a repeat gets its own."""
    kept = OmegaConf.to_container(cfg, resolve=True) | {"logger": OmegaConf.to_container(cfg.logger), "run_dir": None}
    with atomic_path(folder / CONFIG) as temporary:
        OmegaConf.save(_HYDRA | kept, temporary)


def finished_summary(folder: Path, cfg: DictConfig, inputs: dict[str, str]) -> dict[str, Any] | None:
    """The summary of the run in `folder` if it is the one that `cfg` describes, from the same frames, and finished."""
    if not ((folder / SUMMARY).is_file() and (folder / CONFIG).is_file()):
        return None
    before, summary = OmegaConf.load(folder / CONFIG), read_json(folder / SUMMARY)
    same = plain_settings(before, (*_HYDRA, *IRRELEVANT)) == plain_settings(cfg, IRRELEVANT)
    complete = "sampling" in summary or not cfg.sample_after_train
    return summary if same and complete and summary.get("inputs") == inputs else None


@dataclass(frozen=True)
class TrainingClip:
    """The N frames that a run was fine-tuned on, kept in the run so that it can film again on its own.

    Attributes:
        frames: (N, H, W, 3); poses: N poses; prompt: p_s; fps: of the clip they come from.
    """

    frames: np.ndarray
    poses: PoseSequence
    prompt: str
    fps: float

    def checksums(self) -> dict[str, str]:
        """SHA-256 of frames and poses."""
        return {
            "training_frames_sha256": arrays_sha256(self.frames),
            "training_poses_sha256": poses_sha256(self.poses),
        }

    def save(self, run: Path) -> None:
        """Write into the run folder, whole or not at all."""
        with atomic_path(run / TRAINING) as temporary:
            temporary.mkdir()
            write_frames(temporary / "frames", self.frames)
            save_poses(temporary / "poses.npz", self.poses, fps=self.fps)
            write_json(temporary / "clip.json", {"prompt": self.prompt, "fps": float(self.fps)})

    @staticmethod
    def load(run: Path) -> "TrainingClip":
        """Read what `save` wrote."""
        clip = OmegaConf.load(run / TRAINING / "clip.json")
        frames = read_video(run / TRAINING / "frames").frames
        return TrainingClip(frames, load_poses(run / TRAINING / "poses.npz"), clip.prompt, clip.fps)


def save_held_out(run: Path, frames: np.ndarray, poses: PoseSequence, fps: float) -> None:
    """Keep the true frames (M, H, W, 3) of the held-out poses in the run, so that it can be scored on its own."""
    if not (run / HELD_OUT).is_dir():
        with atomic_path(run / HELD_OUT) as temporary:
            temporary.mkdir()
            write_frames(temporary / "frames", frames)
            save_poses(temporary / "poses.npz", poses, fps=fps)


def load_run(run: str | Path) -> tuple[DictConfig, TrainingClip]:
    """Config and training frames of a fine-tuned run.

    Raises:
        UserError: no such folder, or its fine-tune did not finish.
    """
    run = Path(run)
    if not (run / CONFIG).is_file():
        raise UserError(f"run={run} is no run folder (no {CONFIG} in it): give one that `python -m src.train` wrote")
    if not (run / ADAPTER).is_file():
        raise UserError(
            f"run={run} has not finished its fine-tune: give its src.train command again with run_dir={run}"
        )
    return OmegaConf.load(run / CONFIG), TrainingClip.load(run)


def save_results(
    folder: Path,
    *,
    generated: np.ndarray,
    target_poses: PoseSequence,
    fps: float,
    beside: tuple[str, np.ndarray] | None,
    reference_frame: np.ndarray,
    reference: dict,
) -> None:
    """Write video, frames, comparison, contact sheet, poses and what was done with the reference.

    Args:
        generated: (M, H, W, 3).
        target_poses: M poses.
        beside: label and (M, H, W, 3) frames of the same poses, true or the driver's, where there are any.
        reference_frame: (H, W, 3) the training frame r.
        reference: as `reference.json` is to hold it.
    """
    drawn = draw_poses(target_poses, generated.shape[1:3])
    videos = {"pose": drawn, "generated": generated, **dict([beside] if beside else [])}
    write_frames(folder / "frames", generated)
    write_video(folder / "generated.mp4", generated, fps)
    write_video(folder / "comparison.mp4", side_by_side(list(videos.values()), list(videos)), fps)
    rows = [*videos.items(), ("reference", reference_frame[None])]
    contact_sheet(rows, folder / "contact_sheet.png", columns=8)
    save_poses(folder / "poses.npz", target_poses, fps=fps)
    write_json(folder / "reference.json", reference)
