"""Latents of a whole pool, computed once and kept beside the checkpoints."""

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin

from src.common.arrays import map_npy
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.digests import sha256
from src.common.errors import UserError
from src.common.progress import track
from src.miniature.pools import PeoplePool
from src.models.folders import part_config, vae_class
from src.models.image_model import mode_of

log = logging.getLogger(__name__)


def load_vae(folder: str | Path) -> ModelMixin:
    """The frozen VAE of an earlier `part=vae`, in float32.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no VAE: run `python -m src.pretrain part=vae` with the same weights_dir first")
    cls = vae_class(part_config(str(folder), "vae", option="part.module.vae_folder"), str(folder))
    return cls.from_pretrained(folder, torch_dtype=torch.float32).eval().requires_grad_(False)


def pool_latents(vae: ModelMixin, weights: Path, pool: PeoplePool, cache: Path, *, chunk: int) -> np.ndarray:
    """Scaled latents of every frame, from the cache if they are there.

    Args:
        vae: the encoder.
        weights: its file; another file means another cache.
        pool: N frames.
        cache: folder of the cached arrays.
        chunk: frames encoded at once.

    Returns:
        (N, C, h, w) float16, mapped from disk.
    """
    path = cache / f"latents_{sha256(weights)[:12]}_{len(pool)}_{pool.fingerprint}.npy"
    if not path.is_file():
        parts = []
        for start in track(range(0, len(pool), chunk), "encoding people"):
            frames_BHWC = pool.gather("frames", np.arange(start, min(start + chunk, len(pool))))
            images = torch.from_numpy(frames_BHWC).to(vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.no_grad(), torch.autocast(vae.device.type, torch.bfloat16):
                latents = mode_of(vae.encode(images))
            parts.append((latents.float() * vae.config.scaling_factor).half().cpu().numpy())
        with atomic_path(path) as temporary:
            np.save(temporary, np.concatenate(parts))
        log.info("latents of %s in %s", counted(len(pool), "frame"), path)
    return map_npy(path)
