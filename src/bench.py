"""`python -m src.bench model=sd15`: seconds and peak memory of one training step and one guided sampling step."""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.app.entry import entry
from src.common.files import write_json
from src.common.typed import typed
from src.models.settings import ModelSettings, build_models
from src.people.render import render_clip, sample_identity
from src.sampling.sampler import Sampler, SamplingJob
from src.sampling.settings import MethodSettings, SamplingSettings
from src.training.callbacks import Cost, peak_memory_gib
from src.training.data_module import OneShotDataModule
from src.training.one_shot_module import OneShotModule

# Least TFLOP at 512x512: one frame of a training step; one frame through UNet and ControlNet with both prompts.
TRAINING_FLOOR_TFLOP, SAMPLING_FLOOR_TFLOP = 17 / 8, 2 * (0.80 + 0.28)


def measure(cfg: DictConfig) -> dict:
    """Run one training step and one sampling step with random weights.

    Returns:
        Seconds, peak memory and, at 512×512, the TFLOP/s reached, counted by the least operations that a step needs.
    """
    settings = replace(typed(ModelSettings, cfg.model, "model"), random_seed=0)
    sampling = replace(typed(SamplingSettings, cfg.sampling, "sampling"), num_steps=1)
    num_frames, size = cfg.data.batch_frames, cfg.data.resolution
    frames, poses = render_clip(sample_identity(1), "talk", num_frames + cfg.num_target_frames, size, 1)
    image_model, backbone = build_models(settings)
    image_model.check_resolution(size)

    cost = Cost()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = instantiate(
            cfg.trainer,
            max_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            callbacks=[cost],
            default_root_dir=scratch,
        )
        module = OneShotModule(
            backbone, image_model.scheduler, instantiate(cfg.optimizer), batch_frames=num_frames, seed=0
        )
        data = OneShotDataModule(frames[:num_frames], poses[:num_frames], "a person", encoder=image_model, num_steps=1)
        trainer.fit(module, data)
    device = trainer.strategy.root_device
    training = {"frames": num_frames, "seconds": cost.seconds[0], "peak_memory_gib": peak_memory_gib(device)}

    job = SamplingJob(frames[:1], poses[:1], poses[num_frames:], "a person", "a person")
    sampler = Sampler(image_model, backbone.to(device).eval(), typed(MethodSettings, cfg.method, "method"), sampling)
    image_model.move_encoders(device)
    started = time.perf_counter()
    with trainer.precision_plugin.predict_step_context():
        latents, _ = sampler.sample_latents(job)
    sampled = {"frames": len(latents) + 1, "seconds": time.perf_counter() - started}
    sampled["peak_memory_gib"] = peak_memory_gib(device)
    assert np.isfinite(float(latents.float().sum())), "random weights gave numbers that are not finite"
    if settings.configs == "sd15" and size == 512:
        training["tflop_per_second"] = TRAINING_FLOOR_TFLOP * num_frames / training["seconds"]
        # The inversion of the reference adds one unguided evaluation.
        sampled["tflop_per_second"] = SAMPLING_FLOOR_TFLOP * (sampled["frames"] + 0.5) / sampled["seconds"]
    figures = {"model": settings.name, "weights": "random", "resolution": size, "device": str(device)}
    figures |= {"precision": str(cfg.trainer.precision), "trained_parameters": backbone.num_trainable()}
    return figures | {"training_step": _rounded(training), "sampling_step": _rounded(sampled)}


def _rounded(figures: dict) -> dict:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


@entry("bench")
def main(cfg: DictConfig) -> None:
    """Print the figures as JSON."""
    figures = measure(cfg)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    if cfg.output is not None:
        write_json(Path(cfg.output), figures)


if __name__ == "__main__":
    main()
