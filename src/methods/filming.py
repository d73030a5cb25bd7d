"""What all methods that are not ours share when they generate: device, precision, and what it cost.

Dimensions: M frames of S×S pixels, RGB uint8.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.common.digests import fingerprint
from src.common.errors import UserError
from src.common.system import peak_memory_gib
from src.common.trainer import TrainerSettings
from src.methods.base import Material
from src.models.settings import PRECISIONS
from src.sampling.jobs import GeneratedClip

# Parameters of the image UNet that both systems' published weights are for (Stable Diffusion 1.5).
PUBLISHED_UNET = 859_520_964


def filmed(
    material: Material, trainer: TrainerSettings, make: Callable[[torch.device], tuple[np.ndarray, float]], **said: Any
) -> GeneratedClip:
    """Generate on the trainer's device in its precision.

    Args:
        make: the frames (M, S, S, 3) and their rate.
        said: what of the settings the cost depends on.
    """
    runner = trainer.build(folder=None, logger=False, enable_checkpointing=False)
    device, started = runner.strategy.root_device, time.perf_counter()
    with runner.precision_plugin.predict_step_context():
        frames, fps = make(device)
    seconds = time.perf_counter() - started
    cost = {
        "frames": len(frames),
        "seconds": round(seconds, 3),
        "seconds_per_frame": round(seconds / len(frames), 4),
        "peak_memory_gib": round(peak_memory_gib(str(device)), 3),
        "reference_frame": 0,
        "sources": dict(material.sources),
        **said,
    }
    return GeneratedClip(frames, material.poses, fps, (), material.reference, cost)


def check_precision(kind: str, precision: str) -> None:
    """Refuse what would halve or double not the weights but the noise that is drawn, and so make another video.

    Args:
        kind: of the method.
        precision: `trainer.precision`.
    """
    if precision not in PRECISIONS["float32"]:
        raise UserError(
            f"trainer.precision={precision}: method={kind} computes in {', '.join(PRECISIONS['float32'])}: give one of "
            "these"
        )


def weights_fingerprint(paths: list[Path]) -> list[Any]:
    """What tells these files of weights from others."""
    return fingerprint([path for path in paths if path.is_file()])


def not_published(num_parameters: int) -> str | None:
    """Why weights of that many parameters in their UNet are none of the published ones; None: they may be."""
    if num_parameters == PUBLISHED_UNET:
        return None
    return f"weights of a UNet of {num_parameters:,} parameters, where the published have {PUBLISHED_UNET:,}"
