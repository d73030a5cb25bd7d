"""Seconds and peak memory of one window of MagicAnimate and one frame of DisCo, with random weights.

Dimensions: F frames, C latent channels, S×S pixels, h×w latent cells, T tokens, E context channels.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel, UNetMotionModel
from torch import Tensor

from src.baselines.disco import sampling as disco
from src.baselines.disco.loading import build_disco, read_configs
from src.baselines.disco.settings import SamplingSettings as DisCoSampling
from src.baselines.magicanimate import sampling as magicanimate
from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.motion import motion_config
from src.baselines.magicanimate.reference_attention import AppearanceEncoder
from src.baselines.magicanimate.settings import MAX_POSITIONS, NetworkSettings
from src.baselines.magicanimate.settings import SamplingSettings as MagicAnimateSampling
from src.common.errors import UserError
from src.common.system import peak_memory_gib
from src.common.trainer import TrainerSettings
from src.models.image_model import check_sides
from src.models.settings import ModelSettings
from src.models.shipped import from_config, shipped_configs

LATENT_SHRINKS, CHANNELS, TOKENS = 8, 4, 77


def measure_other(
    system: Literal["magicanimate", "disco"], model: ModelSettings, trainer: TrainerSettings, *, resolution: int
) -> dict[str, Any]:
    """Seconds and peak memory of one step of a system with random weights.

    Args:
        model: whose shipped configs give the sizes, and its dtype MagicAnimate's weights; DisCo's are float32.
        resolution: of MagicAnimate in pixels; DisCo has its 256.

    Raises:
        UserError: the configs or the resolution do not suit the system.
    """
    configs = shipped_configs(model.configs)
    if system == "disco":
        if not (configs / "image_encoder").is_dir():
            raise UserError(f"model.configs={model.configs} has no image encoder, which DisCo needs: give model=sd15")
        return {"model": system} | measure_disco(configs, trainer)
    dtype = getattr(torch, model.dtype)
    return {"model": system} | measure_magicanimate(configs, trainer, dtype, resolution=resolution)


def measure_magicanimate(
    configs: Path, trainer: TrainerSettings, dtype: torch.dtype, *, resolution: int
) -> dict[str, Any]:
    """One guided step of one window of 16 frames, the bank of its reference included.

    Args:
        configs: folder with `unet` and `controlnet`.
        dtype: of the weights.
        resolution: in pixels; 512 is the public code's.
    """
    settings = MagicAnimateSampling(num_steps=1, resolution=resolution)

    def step(device: torch.device) -> Callable[[], Tensor]:
        with device, _default_dtype(dtype):
            unet = from_config(UNet2DConditionModel, configs / "unet")
            check_sides(LATENT_SHRINKS * 2 ** (len(unet.config["block_out_channels"]) - 1), resolution)
            video_unet = UNetMotionModel(**motion_config(unet, max_positions=MAX_POSITIONS))
            encoder = AppearanceEncoder(unet)
            controlnet = from_config(ControlNetModel, configs / "controlnet")
        model = MagicAnimate(video_unet, encoder, controlnet, settings=NetworkSettings()).eval().requires_grad_(False)
        count, size, width = settings.window_frames, settings.resolution, unet.config["cross_attention_dim"]
        cells = size // LATENT_SHRINKS
        latents_1CFhw = magicanimate.draw_noise(count, (CHANNELS, cells, cells), settings, seed=0).to(device, dtype)
        texts = torch.zeros(1, TOKENS, width, device=device, dtype=dtype)
        conditions = torch.zeros(1, count, 3, size, size, device=device, dtype=dtype)
        job = magicanimate.LatentJob(latents_1CFhw, latents_1CFhw[:, :, 0], conditions, texts, texts)
        return lambda: magicanimate.sample_latents(model, job, settings)

    figures = {"frames": settings.window_frames, "resolution": settings.resolution, "dtype": str(dtype)[6:]}
    return figures | _measured(step, trainer)


def measure_disco(configs: Path, trainer: TrainerSettings) -> dict[str, Any]:
    """One guided step of one frame at 256 pixels.

    Args:
        configs: folder with the four parts of `read_configs`.
    """
    settings = DisCoSampling(num_steps=1)

    def step(device: torch.device) -> Callable[[], Tensor]:
        described = read_configs(configs)
        with device:
            model = build_disco(described)
        scheduler = disco.make_scheduler(described.scheduler)
        size = settings.resolution
        cells = size // LATENT_SHRINKS
        latents_1Chw = disco.draw_noise(1, (CHANNELS, cells, cells), settings, seed=0).to(device)
        side = model.foreground_size
        with torch.no_grad():
            context_1TE = model.context(torch.zeros(1, 3, side, side, device=device))
        pose = torch.zeros(1, 3, size, size, device=device)
        job = disco.LatentJob(latents_1Chw, latents_1Chw, pose, context_1TE, context_1TE)
        return lambda: disco.sample_latents(model, job, scheduler, num_steps=1, scale=settings.scale)

    return {"frames": 1, "resolution": settings.resolution, "dtype": "float32"} | _measured(step, trainer)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Weights are drawn in the dtype at once: in float32 first, they would need twice the memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _measured(prepare: Callable[[torch.device], Callable[[], Tensor]], trainer: TrainerSettings) -> dict[str, Any]:
    """Build, run once, and say what it cost; building is not timed, nor on a GPU the first run."""
    runner = trainer.build(folder=None, logger=False, enable_checkpointing=False)
    device = runner.strategy.root_device
    step = prepare(device)
    with runner.precision_plugin.predict_step_context():
        if device.type == "cuda":
            step()  # chooses algorithms
            torch.cuda.reset_peak_memory_stats(device)
        started, busy = time.perf_counter(), time.process_time()
        total = float(step().float().sum())
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert np.isfinite(total), "random weights gave numbers that are not finite"
    memory = round(peak_memory_gib(str(device)), 3)
    where = {"device": str(device), "precision": str(trainer.precision), "weights": "random"}
    return {"seconds": round(seconds, 3), "cpu_seconds": round(busy, 3), "peak_memory_gib": memory, **where}
