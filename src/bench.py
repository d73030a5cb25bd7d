"""`python -m src.bench model=sd15`: seconds and peak memory of one training step and one guided sampling step."""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.common.files import write_json
from src.common.measure import peak_memory_gib
from src.common.typed import FileName, check_range
from src.data.subject_split import TrainingClip
from src.models.build import build_models
from src.models.shipped import shipped_configs
from src.people.render import render_clip, sample_identity
from src.runs.settings import LearningSettings
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.training.fine_tune import FineTuneJob, fine_tune

# Least TFLOP at 512x512: one frame of a training step; one frame through UNet and ControlNet with both prompts.
TRAINING_FLOOR_TFLOP, SAMPLING_FLOOR_TFLOP = 17 / 8, 2 * (0.80 + 0.28)


@dataclass(frozen=True, kw_only=True)
class BenchSettings(LearningSettings):
    """What `conf/bench.yaml` describes.

    Attributes:
        measured: a training and a sampling step of `ours`; a window of `magicanimate`, a frame of `disco`, which are
            sampled at their own resolution.
        num_target_frames: M of the sampling step.
        output: write the figures to this JSON file too.
    """

    measured: Literal["ours", "magicanimate", "disco"] = "ours"
    num_target_frames: int = 4
    output: FileName | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("num_target_frames", self.num_target_frames, least=1)


def measure(given: BenchSettings) -> dict:
    """Run one training step and one sampling step with random weights.

    Returns:
        Seconds, peak memory and, at 512×512, the TFLOP/s reached, counted by the least operations that a step needs.
    """
    settings, sampling = replace(given.model, random_seed=0), replace(given.sampling, num_steps=1)
    num_frames, size = given.data.batch_frames, given.data.resolution
    frames, poses = render_clip(sample_identity(1), "talk", num_frames + given.num_target_frames, size, 1)
    image_model, backbone = build_models(settings)
    image_model.check_resolution(size)

    trainer = replace(given.trainer, max_steps=1)
    clip = TrainingClip(frames[:num_frames], poses[:num_frames], "a person", 10.0)
    job = FineTuneJob(clip=clip, batch_frames=num_frames, optimizer=given.optimizer, trainer=trainer, seed=0)
    record = fine_tune(job, image_model, backbone)
    device = torch.device(record["device"])
    training = {"frames": num_frames, "seconds": record["seconds"], "peak_memory_gib": record["peak_memory_gib"]}

    target = GenerationJob(
        clip=TrainingClip(frames[:1], poses[:1], "a person", 10.0),
        target_poses=poses[num_frames:],
        target_prompt="a person",
        method=given.method,
        sampling=sampling,
        seed=0,
        fps=10.0,
    )
    sampler = Sampler(image_model, backbone, [target]).to(device).eval()
    started = time.perf_counter()
    with trainer.build(folder=None, logger=False).precision_plugin.predict_step_context():
        latents, _ = sampler.sample_latents(target)
    sampled = {"frames": len(latents) + 1, "seconds": time.perf_counter() - started}
    sampled["peak_memory_gib"] = peak_memory_gib(str(device))
    assert np.isfinite(float(latents.float().sum())), "random weights gave numbers that are not finite"
    if settings.configs == "sd15" and size == 512:
        training["tflop_per_second"] = TRAINING_FLOOR_TFLOP * num_frames / training["seconds"]
        # The inversion of the reference adds one unguided evaluation.
        sampled["tflop_per_second"] = SAMPLING_FLOOR_TFLOP * (sampled["frames"] + 0.5) / sampled["seconds"]
    figures = {"model": settings.name, "weights": "random", "resolution": size, "device": str(device)}
    figures |= {"precision": str(trainer.precision), "trained_parameters": backbone.num_trainable()}
    return figures | {"training_step": _rounded(training), "sampling_step": _rounded(sampled)}


def measure_other(settings: BenchSettings) -> dict[str, Any]:
    """One step of another system, with the sizes of `model.configs`."""
    from src.methods.measured import measure_disco, measure_magicanimate

    measure_it = {"magicanimate": measure_magicanimate, "disco": measure_disco}[settings.measured]
    return {"model": settings.measured} | measure_it(shipped_configs(settings.model.configs), settings.trainer)


def _rounded(figures: dict) -> dict:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


@entry("bench", BenchSettings)
def main(cfg: DictConfig) -> None:
    """Print the figures as JSON."""
    settings = settings_of(BenchSettings, cfg)
    figures = measure(settings) if settings.measured == "ours" else measure_other(settings)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if settings.output is not None:
        write_json(Path(settings.output), figures)


if __name__ == "__main__":
    main()
