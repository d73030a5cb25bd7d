"""From a fine-tuned backbone and a job to a generated clip, in memory."""

import time

import numpy as np

from src.common.measure import peak_memory_gib
from src.common.trainer import TrainerSettings
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.sampling.jobs import GeneratedClip, GenerationJob, longest
from src.sampling.sampler import Sampler, segments_of


def generate(
    job: GenerationJob, image_model: ImageModel, backbone: VideoBackbone, trainer: TrainerSettings
) -> GeneratedClip:
    """Sample the job through Lightning's Trainer, which sets device and precision as in training.

    Args:
        image_model: encodes and decodes.
        backbone: fine-tuned on `job.clip`.
        trainer: device and precision.
    """
    runner = trainer.build(folder=None, logger=False, enable_checkpointing=False)
    started = time.perf_counter()
    sampler = Sampler(image_model, backbone, segments_of(job))
    predicted = runner.predict(sampler)
    assert predicted is not None, "asked to return predictions"
    frames = np.concatenate(predicted)
    seconds = time.perf_counter() - started
    index = longest(sampler.references).index
    return GeneratedClip(
        frames=frames,
        poses=job.target_poses,
        fps=job.fps,
        references=tuple(sampler.references),
        reference_frame=job.clip.frames[index],
        cost={
            "frames": len(frames),
            "seconds": round(seconds, 3),
            "seconds_per_frame": round(seconds / len(frames), 4),
            "peak_memory_gib": round(peak_memory_gib(str(runner.strategy.root_device)), 3),
            "num_steps": job.sampling.num_steps,
            "guidance_scale": job.sampling.guidance_scale,
            "reference_frame": index,
        },
    )
