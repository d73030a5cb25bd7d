"""MagicAnimate as a method: one picture and DensePose renderings in, a video out."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from src.baselines.magicanimate.loading import ORIGIN, find_files, load_magicanimate
from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.sampling import AnimationJob, animate, check_resolution
from src.common.digests import arrays_sha256, digest
from src.common.errors import UserError
from src.common.typed import identity, plain
from src.methods.base import Keys, Material, Method, Surroundings
from src.methods.filming import check_precision, filmed, weights_fingerprint
from src.methods.settings import MagicAnimateSettings
from src.models.image_model import TextToImage
from src.models.loading import load_text_to_image
from src.models.settings import stand_in, weights_identity
from src.runs.run_folder import RunFolder
from src.sampling.jobs import GeneratedClip
from src.training.fitting import MakeLoggers

log = logging.getLogger(__name__)
PUBLISHED_VAE = "stabilityai/sd-vae-ft-mse"
# Of an image model's settings those that it has in its own, or not at all, and the values that ask nothing of it.
_NOT_ITS_OWN: dict[str, tuple[Any, ...]] = {
    "compile": (False,),
    "compile_training": (False,),
    "offload": (False, "auto"),
    "prediction_type": (None, "epsilon"),
    "zero_terminal_snr": (None, False),
    "group_norm": ("clip",),
    "conditioning_scale": (1.0,),
}


class MagicAnimateMethod(Method):
    """The published weights on the image model that `model=` names."""

    settings: MagicAnimateSettings

    def __init__(self, settings: MagicAnimateSettings, around: Surroundings) -> None:
        if settings.weights is None:
            raise UserError(f"method={settings.kind} needs its weights {ORIGIN}")
        assert around.model is not None, "it stands on an image model"
        check_precision(settings.kind, around.trainer.precision)
        for name, values in _NOT_ITS_OWN.items():
            if (value := getattr(around.model, name)) not in values:
                shown = str(value).lower() if isinstance(value, bool) else value
                raise UserError(f"model.{name}={shown}: method={settings.kind} does not go by it; leave it out")
        self.settings, self.around, self.model = settings, around, around.model
        self.files = find_files(settings.weights)
        self.stand_in = stand_in(self.model)

    def keys(self, material: Material) -> Keys:
        reference = arrays_sha256(material.reference)
        made_with = [identity(self.settings, "sampling"), identity(self.model, "sampling"), self.around.seed]
        weights = [weights_identity(self.model), weights_fingerprint(self.files.weights())]
        rest = [weights, made_with, self.around.trainer.precision, material.checksums()]
        return Keys(digest([self.settings.name, reference]), digest([reference, *rest]))

    def values(self, subject: str) -> dict[str, Any]:
        around = {"model": plain(self.model), "trainer": plain(self.around.trainer), "seed": self.around.seed}
        return {"subject": subject, "method": plain(self.settings), **around}

    @functools.cached_property
    def _loaded(self) -> tuple[MagicAnimate, TextToImage]:
        assert self.settings.weights is not None
        image_model = load_text_to_image(self.model)
        dtype = getattr(torch, self.model.dtype)
        unet = image_model.unet
        return (
            load_magicanimate(self.settings.weights, unet, settings=self.settings.network, dtype=dtype),
            image_model,
        )

    def load(self, material: Material) -> None:
        if self.model.vae is None and self.stand_in is None:
            log.warning("MagicAnimate was published with another VAE than its base's: give model.vae=%s", PUBLISHED_VAE)
        model, image_model = self._loaded
        check_resolution(model, image_model.vae, self.settings.resolution)

    def film(
        self, material: Material, run: RunFolder, *, loggers: MakeLoggers
    ) -> tuple[Mapping[str, Any], GeneratedClip]:
        assert material.conditions is not None, "it is driven by them"
        model, image_model = self._loaded
        job = AnimationJob(material.reference, material.conditions, material.fps, self.around.seed)

        def make(device: torch.device) -> tuple[np.ndarray, float]:
            image_model.move_encoders(device)
            result = animate(model.to(device), image_model.vae, image_model.encode_prompt, job, self.settings)
            return result.frames, result.fps

        said = {name: asdict(self.settings)[name] for name in ("num_steps", "guidance_scale")}
        return {}, filmed(material, self.around.trainer, make, **said)
