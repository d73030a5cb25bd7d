"""From a fine-tuned backbone to the files of a video: what `src.train` and `src.sample` share."""

import logging
import time
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.runs.run_folder import save_results
from src.sampling.module import SamplingModule
from src.sampling.sampler import SamplingJob
from src.sampling.settings import MethodSettings, SamplingSettings
from src.training.callbacks import peak_memory_gib

log = logging.getLogger(__name__)


def film(
    image_model: ImageModel,
    backbone: VideoBackbone,
    job: SamplingJob,
    *,
    method: MethodSettings,
    sampling: SamplingSettings,
    trainer: DictConfig,
    folder: Path,
    fps: float,
    beside: tuple[str, np.ndarray] | None,
) -> dict:
    """Sample the job through Lightning's Trainer, write the results into `folder` and return what it cost.

    Args:
        image_model, backbone, job, method, sampling: as of `Sampler`.
        trainer: the config group `trainer`, for device and precision.
        folder: of the results.
        fps: of the video.
        beside: label and (M, H, W, 3) uint8 frames to show with the generated ones: the true or the driver's.
    """
    runner = instantiate(
        trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False, default_root_dir=str(folder)
    )
    module = SamplingModule(image_model, backbone, method, sampling)
    started = time.perf_counter()
    [(frames, reference)] = runner.predict(module, DataLoader([job], batch_size=None, collate_fn=lambda item: item))
    seconds = time.perf_counter() - started
    index = reference["reference_frame"]
    save_results(
        folder,
        generated=frames,
        target_poses=job.target_poses,
        fps=fps,
        beside=beside,
        reference_frame=job.training_frames[index],
        reference=reference,
    )
    log.info("video: %s; contact sheet: %s", folder / "comparison.mp4", folder / "contact_sheet.png")
    return {
        "frames": len(frames),
        "seconds": round(seconds, 3),
        "seconds_per_frame": round(seconds / len(frames), 4),
        "peak_memory_gib": round(peak_memory_gib(runner.strategy.root_device), 3),
        "num_steps": sampling.num_steps,
        "guidance_scale": sampling.guidance_scale,
        "reference_frame": index,
    }
