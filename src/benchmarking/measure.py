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
from src.benchmarking.profiled import ProfiledStep, profiled
from src.benchmarking.settings import BenchSettings
from src.common.paths import CONF_DIR
from src.common.reading import read_yaml
from src.common.system import peak_memory_gib
from src.common.typed import typed
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.build import build_models
from src.models.image_model import ImageModel
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.keypoints import PoseSequence
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.sampling.settings import EXACT, ApproximationSettings
from src.training.callbacks import StepTimer
from src.training.fine_tune import FineTuneJob, fine_tune
from src.training.fitting import Observers

# As many as `sampling=fast` needs to show the mean cost of what it keeps; both are guided, as most of its steps are.
SAMPLING_STEPS = 2
# The first steps of a fine-tune allocate and choose algorithms: of a GPU, whose steps are short, the last are counted.
TRAINING_STEPS, GPU_TRAINING_STEPS, GPU_COUNTED_STEPS = 3, 14, 8


class _Timer(StepTimer):
    """Beside the fine-tune's own, of which Lightning takes one of a class."""


def bench(settings: BenchSettings) -> dict[str, Any]:
    """Measure, count, or both.

    Returns:
        `training_step`; `sampling_step`, one record for each M, chunk and approximation; `counted`, of one evaluation
        each, as sampling makes them. Where both are there, records of sampling hold their rate of counted operations.
    """
    given, trainer = settings.model, settings.trainer
    figures: dict[str, Any] = {"model": given.name, "weights": "random", "resolution": settings.data.resolution}
    figures |= {"precision": str(trainer.precision), "dtype": given.dtype}
    if settings.measured:
        figures |= _measured(settings)
    figures["counted"] = [
        count_evaluation(
            given,
            resolution=settings.data.resolution,
            precision=trainer.precision,
            num_frames=m + int(settings.method.reference_insertion),
            num_prompts=1 if settings.sampling.guidance_scale == 1 else 2,
        )
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
    device = settings.trainer.check_available()
    steps = GPU_TRAINING_STEPS if device.type == "cuda" else TRAINING_STEPS
    job = FineTuneJob(
        clip=TrainingClip(frames, poses, "a person", 10.0),
        batch_frames=num_frames,
        optimizer=settings.optimizer,
        trainer=replace(settings.trainer, max_steps=steps + int(settings.profile)),
        seed=0,
        gradient_checkpointing=settings.model.gradient_checkpointing,
    )
    timer, watched = _Timer(), ProfiledStep(steps)
    observers = Observers(callbacks=[timer, *([watched] if settings.profile else [])])
    record = fine_tune(job, image_model, backbone, observers=observers)
    counted = timer.seconds[1:steps] if device.type == "cpu" else timer.seconds[steps - GPU_COUNTED_STEPS : steps]
    training = {"frames": num_frames, "seconds_per_step": round(float(np.median(counted)), 4)}
    training |= {"peak_memory_gib": record["peak_memory_gib"], "checkpointing": backbone.unet.is_gradient_checkpointing}
    if settings.profile:
        training["kernels"] = watched.kernels
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
                backbone.cpu()  # the peak is not to hold what an earlier case left
                with sampler.offloaded(device) as waiting, context():
                    sampler.to(device).eval()
                    if device.type == "cuda":
                        _sampled_once(sampler, job)  # chooses algorithms
                        torch.cuda.reset_peak_memory_stats(device)
                    seconds = _sampled_once(sampler, job) / SAMPLING_STEPS
                    peak = peak_memory_gib(str(device))
                    kernels: list[dict[str, Any]] = []
                    if settings.profile:
                        with profiled(device) as kernels:
                            _sampled_once(sampler, job)
                yield {
                    "frames": number + int(settings.method.reference_insertion),
                    "frame_chunk": chunk,
                    "approximated": not approximation.off,
                    "offloaded": waiting,
                    "seconds_per_step": round(seconds, 4),
                    "num_steps": num_steps,
                    # On a CPU, of the process until then.
                    "peak_memory_gib": round(peak, 3),
                    **({"kernels": kernels} if settings.profile else {}),
                }


def _sampled_once(sampler: Sampler, job: GenerationJob) -> float:
    """Seconds of sampling."""
    started = time.perf_counter()
    latents, _ = sampler.sample_latents(job)
    total = float(latents.float().sum())  # waits for the device
    assert np.isfinite(total), "random weights gave numbers that are not finite"
    return time.perf_counter() - started
