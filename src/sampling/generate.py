"""From a fine-tuned backbone and a job to a generated clip, in memory or, of many frames, on disk.

Dimensions: M target poses, H×W pixels, L frames of a window.
"""

import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from src.common.arrays import collected, height_width
from src.common.system import peak_memory_gib
from src.common.trainer import TrainerSettings
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.sampling.jobs import GeneratedClip, GenerationJob, longest
from src.sampling.kept_frames import KeptFrames
from src.sampling.sampler import Sampler, segments_of


@dataclass(frozen=True)
class KeepIn:
    """Where the windows of a long video are kept as they are finished.

    Attributes:
        folder: of the frames (`src.sampling.kept_frames`); its owner clears it when the video is written.
        key: of everything that the video depends on; a video of that key goes on from its last window.
    """

    folder: Path
    key: str


def generate(
    job: GenerationJob,
    image_model: ImageModel,
    backbone: VideoBackbone,
    trainer: TrainerSettings,
    *,
    keep: KeepIn | None = None,
) -> GeneratedClip:
    """Sample the job through Lightning's Trainer, which sets device and precision as in training.

    Args:
        image_model: encodes and decodes.
        backbone: fine-tuned on `job.clip`.
        trainer: device and precision.
        keep: write each window to disk as it is finished, and go on after those that are there; None: in memory.
    """
    started = time.perf_counter()
    sampler = Sampler(image_model, backbone, segments_of(job))
    frames: KeptFrames | _FramesInMemory
    if keep is None:
        frames = _FramesInMemory()
    else:
        lengths = [len(window.job.target_poses) for window in sampler.windows]
        frames = KeptFrames(keep.folder, key=keep.key, size=job.image_size, lengths=lengths)
    sampler.done = frames.done
    runner = trainer.build(folder=None, logger=False, enable_checkpointing=False, callbacks=[_HandOver(frames)])
    if sampler.done < len(sampler.windows):
        with sampler.offloaded(runner.strategy.root_device):
            runner.predict(sampler, return_predictions=False)
    seconds, references = time.perf_counter() - started, sampler.references()
    scales = list(job.sampling.scales_beside(backbone.scales))
    index, num_frames = longest(references).index, len(job.target_poses)
    return GeneratedClip(
        frames=frames.frames(),
        poses=job.target_poses,
        fps=job.fps,
        references=references,
        reference_frame=job.clip.frames[index],
        cost={
            "frames": num_frames,
            "seconds": round(seconds, 3),
            "seconds_per_frame": round(seconds / num_frames, 4),
            "peak_memory_gib": round(peak_memory_gib(str(runner.strategy.root_device)), 3),
            "num_steps": job.sampling.num_steps,
            "guidance_scale": job.sampling.guidance_scale,
            "reference_frame": index,
            **({"controlnet_scales": scales} if scales else {}),
        },
    )


class _FramesInMemory:
    """The counterpart of `KeptFrames` that begins anew each time."""

    done = 0

    def __init__(self) -> None:
        self._windows: list[np.ndarray] = []

    def add(self, frames_LHWC: np.ndarray) -> None:
        self._windows.append(frames_LHWC)

    def frames(self) -> np.ndarray:
        if len(self._windows) == 1:
            return self._windows[0]
        size = height_width(self._windows[0])
        return collected(chain.from_iterable(self._windows), sum(map(len, self._windows)), size)


class _HandOver(Callback):
    """Hands each window's frames on as soon as they are there: Lightning would hold all of them."""

    def __init__(self, frames: KeptFrames | _FramesInMemory) -> None:
        self._frames = frames

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._frames.add(outputs)
