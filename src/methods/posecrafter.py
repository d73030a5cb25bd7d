"""PoseCrafter and what it is compared with on its own model: controlvideo, noise, selection, insertion."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from src.common.arrays import height_width
from src.common.typed import plain
from src.methods.base import Keys, MakeLoggers, Material, Method, Surroundings
from src.models.build import build_models
from src.models.offload import check_offload
from src.models.settings import model_warning, stand_in
from src.runs.identity import fine_tune_key, generation_key
from src.runs.keeping import keep_in
from src.runs.learn import learn
from src.runs.run_folder import RunFolder
from src.runs.settings import RunSettings
from src.sampling.generate import generate
from src.sampling.jobs import GeneratedClip, GenerationJob
from src.sampling.settings import MethodSettings

log = logging.getLogger(__name__)


class PoseCrafter(Method):
    """Learns the person by the one-shot fine-tune (Sec. 4.1), and generates by its techniques."""

    def __init__(self, settings: MethodSettings, around: Surroundings) -> None:
        assert around.learning is not None, "it learns"
        self.settings, self.around, self.learning = settings, around, around.learning
        self.stand_in = stand_in(self.learning.model)

    def keys(self, material: Material) -> Keys:
        assert material.clip is not None, "it learns"
        target = material.clip.checksums() | {"test_poses_sha256": material.poses.sha256()}
        target["prompt"] = material.clip.prompt
        return Keys(fine_tune_key(self.learning, material.clip), generation_key(self.learning, material.clip, target))

    def values(self, subject: str) -> dict[str, Any]:
        assert isinstance(self.learning, RunSettings), "of one subject's run"
        return plain(replace(self.learning, subject=subject)) | {"run_dir": None}

    def load(self, material: Material) -> None:
        assert material.clip is not None, "it learns"
        check_offload(self.learning.model.offload, self.learning.trainer.check_available())
        if warning := model_warning(self.learning.model, rendered=material.rendered):
            log.warning("%s", warning)
        # Anew for each person: the fine-tune changes them.
        self._models = build_models(self.learning.model)
        self._models[0].check_resolution(*sorted(height_width(material.clip.frames)))

    def film(
        self, material: Material, run: RunFolder, *, loggers: MakeLoggers
    ) -> tuple[Mapping[str, Any], GeneratedClip]:
        assert material.clip is not None, "it learns"
        own, (image_model, backbone) = self.learning, self._models
        record = learn(run, own, material.clip, image_model, backbone, loggers=loggers)
        job = GenerationJob(
            clip=material.clip,
            target_poses=material.poses,
            target_prompt=material.clip.prompt,
            method=own.method,
            sampling=own.sampling,
            seed=own.seed,
            fps=material.fps,
        )
        keep = keep_in(run, own, job, own.trainer, backbone)
        return record, generate(job, image_model, backbone, own.trainer, keep=keep)
