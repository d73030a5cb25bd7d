"""PoseCrafter and what it is compared with on its own model: controlvideo, noise, selection, insertion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from src.common.typed import plain
from src.methods.base import Keys, Material, Method, Surroundings
from src.models.settings import stand_in
from src.runs.identity import fine_tune_key, generation_key
from src.runs.learn import learn
from src.runs.person import Person, untrained
from src.runs.run_folder import RunFolder
from src.runs.settings import RunSettings
from src.sampling.jobs import GeneratedClip
from src.sampling.settings import MethodSettings
from src.training.fitting import MakeLoggers, Observers


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
        # Anew for each person: the fine-tune changes them.
        self._models = untrained(self.learning, material.clip, rendered=material.rendered)

    def film(
        self, material: Material, run: RunFolder, *, loggers: MakeLoggers
    ) -> tuple[Mapping[str, Any], GeneratedClip]:
        assert material.clip is not None, "it learns"
        person = Person(self.learning, material.clip, run, self._models)
        record = learn(person, Observers(loggers=loggers))
        return record, person.generate(person.job(material.poses, fps=material.fps), output=run)
