"""DisCo as a method, as published and fine-tuned on the person: one picture, its mask and skeletons in, frames out."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from diffusers import DDIMScheduler

from src.baselines.disco.fine_tune import DisCoClip
from src.baselines.disco.fine_tune_module import DisCoFineTuneModule, clip_loader
from src.baselines.disco.loading import CONFIGS_ORIGIN, ORIGIN, load_disco, read_configs
from src.baselines.disco.model import DisCo
from src.baselines.disco.sampling import BEYOND_SEEDS, DisCoJob, check_resolution, generate
from src.baselines.disco.settings import FineTuneSettings
from src.baselines.disco.skeletons import draw_skeletons
from src.baselines.disco.trained import load_trained, save_trained
from src.baselines.sizes import disco_unet_parameters
from src.common.arrays import height_width
from src.common.digests import arrays_sha256, digest
from src.common.errors import UserError
from src.common.typed import identity, plain
from src.methods.base import Keys, Material, Method, Surroundings
from src.methods.filming import check_precision, filmed, not_published, weights_fingerprint
from src.methods.settings import DisCoFineTunedSettings, DisCoSettings
from src.runs.learn import Lesson, learn_once
from src.runs.run_folder import RunFolder
from src.sampling.jobs import GeneratedClip
from src.training.fitting import Fitting, MakeLoggers, Observers


class DisCoMethod(Method):
    """The published checkpoint; with the settings of a fine-tune, that of the person before."""

    settings: DisCoSettings | DisCoFineTunedSettings

    def __init__(self, settings: DisCoSettings | DisCoFineTunedSettings, around: Surroundings) -> None:
        if settings.weights is None:
            raise UserError(f"method={settings.kind} needs its weights, {ORIGIN}")
        if settings.configs is None:
            raise UserError(f"method={settings.kind} needs {CONFIGS_ORIGIN}")
        if not Path(settings.weights).is_file():
            raise UserError(f"no weights at {settings.weights}: expected {ORIGIN}")
        check_precision(settings.kind, around.trainer.precision)
        self.settings, self.around = settings, around
        self.weights, self.configs = Path(settings.weights), Path(settings.configs)
        described = read_configs(self.configs)
        self.stand_in = not_published(disco_unet_parameters(described))

    @property
    def fine_tune(self) -> FineTuneSettings | None:
        """Settings of the fine-tune; None: none is made."""
        return self.settings.fine_tune if isinstance(self.settings, DisCoFineTunedSettings) else None

    def keys(self, material: Material) -> Keys:
        reference = arrays_sha256(material.reference)
        weights = weights_fingerprint([self.weights, *sorted(self.configs.rglob("*.json"))])
        learnt = [self.settings.name, reference, weights]
        if self.fine_tune is not None:
            learnt += [identity(self.fine_tune, "fine_tune"), self.around.seed, identity(self._trainer(), "fine_tune")]
            learnt += [self._clip(material).sha256()]
        # Films of before drew the background's sample as they drew the frames' noise.
        how = [identity(self.settings, "sampling"), self.around.seed + BEYOND_SEEDS, self.around.trainer.precision]
        return Keys(digest(learnt), digest([learnt, how, material.checksums()]))

    def values(self, subject: str) -> dict[str, Any]:
        around = {"trainer": plain(self.around.trainer), "seed": self.around.seed}
        return {"subject": subject, "method": plain(self.settings), **around}

    def load(self, material: Material) -> None:
        # Anew for each person where the fine-tune changes it.
        self._model = self._untrained if self.fine_tune is None else self._load()
        check_resolution(self._model[0], self.settings.resolution)

    def film(
        self, material: Material, run: RunFolder, *, loggers: MakeLoggers
    ) -> tuple[Mapping[str, Any], GeneratedClip]:
        model, scheduler = self._model
        record = {} if self.fine_tune is None else self._learn(model, scheduler, material, run, loggers)
        assert material.masks is not None, "it takes the person out of the background by it"
        size = height_width(material.reference)[0]
        poses = draw_skeletons(material.poses, size)
        job = DisCoJob(material.reference, material.masks[0], poses, self.around.seed)

        def make(device: torch.device) -> tuple[np.ndarray, float]:
            return generate(model.to(device).eval(), scheduler, job, self.settings), material.fps

        said = {"num_steps": self.settings.num_steps, "guidance_scale": self.settings.scale}
        return record, filmed(material, self.around.trainer, make, **said, noise=self.settings.frame_noise)

    def _load(self) -> tuple[DisCo, DDIMScheduler]:
        return load_disco(self.weights, self.configs)

    @functools.cached_property
    def _untrained(self) -> tuple[DisCo, DDIMScheduler]:
        """What is the same for all people, loaded once."""
        return self._load()

    def _trainer(self) -> Any:
        """Our trainer, with what its own settings say of the fine-tune, which knows no clipping."""
        assert self.fine_tune is not None
        return replace(self.around.trainer, max_steps=self.fine_tune.max_steps, gradient_clip_val=None)

    def _clip(self, material: Material) -> DisCoClip:
        assert material.clip is not None and material.masks is not None, "it learns"
        size = height_width(material.clip.frames)[0]
        return DisCoClip(material.clip.frames, material.masks, draw_skeletons(material.clip.poses, size))

    def _learn(
        self, model: DisCo, scheduler: DDIMScheduler, material: Material, run: RunFolder, loggers: MakeLoggers
    ) -> dict[str, Any]:
        assert self.fine_tune is not None
        settings, clip = self.fine_tune, self._clip(material)
        module = DisCoFineTuneModule(model, scheduler, settings, seed=self.around.seed)

        def train(checkpoints: Path) -> dict[str, Any]:
            lightning.seed_everything(self.around.seed, verbose=False)
            fitting = Fitting(
                trainer=self._trainer(),
                rate="method.fine_tune.learning_rate",
                checkpoints=checkpoints,
                checkpoint_every=self.around.checkpoint_every_n_steps,
                observers=Observers(loggers=loggers),
            )
            record = fitting.fit(module, clip_loader(clip))
            return record | {"trained_parameters": sum(p.numel() for p in module.trained().values())}

        lesson = Lesson(
            self.keys(material).learnt,
            train,
            lambda path: save_trained(path, module),
            lambda path: load_trained(path, module),
        )
        return learn_once(run, lesson, cache=self.around.fine_tune_cache)
