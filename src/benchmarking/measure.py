"""Seconds and peak memory of fine-tune steps and of guided sampling steps, with random weights.

Dimensions: n training frames, M target poses.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from src.benchmarking.count import count_evaluation
from src.benchmarking.settings import BenchSettings
from src.common.measure import peak_memory_gib
from src.common.paths import CONF_DIR
from src.common.reading import read_yaml
from src.common.typed import typed
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.build import build_models
from src.models.image_model import ImageModel
from src.people.render import render_clip, sample_identity
from src.pose.keypoints import PoseSequence
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.sampling.settings import EXACT, ApproximationSettings
from src.training.fine_tune import FineTuneJob, fine_tune

# As many as the approximation of `sampling=fast` needs to show its mean cost.
SAMPLING_STEPS = 3
# The first step of a fine-tune allocates and chooses algorithms.
TRAINING_STEPS = 3


def bench(settings: BenchSettings) -> dict[str, Any]:
    """Measure, count, or both.

    Returns:
        `training_step`; `sampling_step`, one record for each M, chunk and approximation; `counted`, of one guided
        evaluation each. Where both are there, records of sampling hold the share of the counted operations.
    """
    given, trainer = settings.model, settings.trainer
    figures: dict[str, Any] = {"model": given.name, "weights": "random", "resolution": settings.data.resolution}
    figures |= {"precision": str(trainer.precision), "dtype": given.dtype}
    if settings.measured:
        figures |= _measured(settings)
    figures["counted"] = [
        count_evaluation(given, resolution=settings.data.resolution, precision=trainer.precision, num_frames=m + 1)
        for m in settings.counted
    ]
    operations = {record["frames"]: record["tflop"] for record in figures["counted"]}
    for record in figures.get("sampling_step", ()):
        if record["frames"] in operations and not record["approximated"]:
            record["tflop_per_second"] = round(operations[record["frames"]] / record["seconds_per_step"], 3)
    return figures


def fast_preset() -> tuple[int, ApproximationSettings]:
    """The steps of the preset `sampling=fast`, and what it leaves out of them."""
    values = read_yaml(CONF_DIR / "sampling/fast.yaml")
    return values["num_steps"], typed(ApproximationSettings, values["approximation"])


def _measured(settings: BenchSettings) -> dict[str, Any]:
    num_frames, size = settings.data.batch_frames, settings.data.resolution
    frames, poses = render_clip(sample_identity(1), "talk", num_frames, size, 1)
    image_model, backbone = build_models(replace(settings.model, random_seed=0))
    image_model.check_resolution(size)
    job = FineTuneJob(
        clip=TrainingClip(frames, poses, "a person", 10.0),
        batch_frames=num_frames,
        optimizer=settings.optimizer,
        trainer=replace(settings.trainer, max_steps=TRAINING_STEPS),
        seed=0,
        gradient_checkpointing=settings.model.gradient_checkpointing,
    )
    record = fine_tune(job, image_model, backbone)
    training = {"frames": num_frames, "seconds_per_step": round(record["seconds_per_step"], 4)}
    training |= {"peak_memory_gib": record["peak_memory_gib"], "checkpointing": backbone.unet.is_gradient_checkpointing}
    device = torch.device(record["device"])
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "trained_parameters": backbone.num_trainable(),
        "training_step": training,
        "sampling_step": list(_sampled(settings, job.clip, image_model, backbone, device)),
    }


def _sampled(
    settings: BenchSettings, clip: TrainingClip, image_model: ImageModel, backbone: VideoBackbone, device: torch.device
) -> Iterator[dict[str, Any]]:
    context = settings.trainer.build(folder=None, logger=False).precision_plugin.predict_step_context
    for number in sorted(settings.num_target_frames):
        targets = PoseSequence.concatenate(*[clip.poses] * (number // len(clip.poses) + 1))[:number]
        for chunk in settings.frame_chunks:
            for num_steps, approximation in ((settings.sampling.num_steps, EXACT), fast_preset()):
                sampling = replace(
                    settings.sampling, num_steps=SAMPLING_STEPS, frame_chunk=chunk, approximation=approximation
                )
                job = GenerationJob(
                    clip=clip,
                    target_poses=targets,
                    target_prompt="a person",
                    # Noise needs no inversion: what is timed is sampling, drawing the poses included.
                    method=replace(settings.method, init="noise"),
                    sampling=sampling,
                    seed=0,
                    fps=10.0,
                )
                sampler = Sampler(image_model, backbone, [job])
                with sampler.offloaded(device) as waiting, context():
                    sampler.to(device).eval()
                    if device.type == "cuda":
                        torch.cuda.reset_peak_memory_stats(device)
                    started = time.perf_counter()
                    latents, _ = sampler.sample_latents(job)
                    total = float(latents.float().sum())  # waits for the device
                    seconds = (time.perf_counter() - started) / SAMPLING_STEPS
                assert np.isfinite(total), "random weights gave numbers that are not finite"
                yield {
                    "frames": number + int(settings.method.reference_insertion),
                    "frame_chunk": chunk,
                    "approximated": not approximation.off,
                    "offloaded": waiting,
                    "seconds_per_step": round(seconds, 4),
                    "num_steps": num_steps,
                    # On a CPU, of the process until then.
                    "peak_memory_gib": round(peak_memory_gib(str(device)), 3),
                }
