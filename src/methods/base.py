"""What a method that films a person is to the commands: it is given a person and poses, and leaves a video.

Dimensions: N training frames, M target poses, S×S pixels (of our own method H×W, as `data.aspect` says); RGB uint8.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from src.common.digests import arrays_sha256
from src.common.trainer import TrainerSettings
from src.data.subject_split import TrainingClip
from src.methods.settings import AnyMethodSettings
from src.models.settings import ModelSettings
from src.pose.keypoints import PoseSequence
from src.runs.run_folder import RunFolder
from src.runs.settings import LearningSettings
from src.sampling.jobs import GeneratedClip
from src.training.fitting import MakeLoggers


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """A person and the poses to film them in.

    Attributes:
        reference: (S, S, 3), the picture of the person; the first training frame where there are several.
        clip: the N training frames; None where there is a picture alone.
        poses: M target poses.
        fps: of the video.
        rendered: a drawn person, not a filmed one.
        conditions: (M, S, S, 3) DensePose renderings of the target poses.
        masks: (N, S, S) float, 1 where the person of a training frame is, (1, S, S) of the reference alone.
        sources: where conditions and masks are from, for the results.
    """

    reference: np.ndarray
    clip: TrainingClip | None
    poses: PoseSequence
    fps: float
    rendered: bool = False
    conditions: np.ndarray | None = None
    masks: np.ndarray | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the poses, conditions and masks."""
        arrays = {"conditions_sha256": self.conditions, "masks_sha256": self.masks}
        given = {name: arrays_sha256(array) for name, array in arrays.items() if array is not None}
        return {"poses_sha256": self.poses.sha256(), **given}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What methods share.

    Attributes:
        model: the image model, for a method that stands on one.
        trainer: device and precision.
        seed: of everything random.
        fine_tune_cache, checkpoint_every_n_steps: see `LearningSettings`.
        learning: everything else of a fine-tune of ours; None where none is made.
    """

    model: ModelSettings | None
    trainer: TrainerSettings
    seed: int
    fine_tune_cache: str | None = None
    checkpoint_every_n_steps: int = 50
    learning: LearningSettings | None = None


@dataclass(frozen=True)
class Keys:
    """SHA-256 of everything that a fine-tune depends on, and of everything that a video does."""

    learnt: str
    generated: str


class Method(ABC):
    """Films one person after another.

    Args:
        settings: of the method; around: what it shares with others.

    Attributes:
        stand_in: why its weights are none that a published number is of; None: nothing is known against them.
    """

    settings: AnyMethodSettings
    around: Surroundings
    stand_in: str | None = None

    @abstractmethod
    def keys(self, material: Material) -> Keys:
        """What the fine-tune of this person, if there is one, and their video depend on; loads no weights."""

    @abstractmethod
    def values(self, subject: str) -> dict[str, Any]:
        """Settings as plain values, for the folder of the subject's run."""

    @abstractmethod
    def load(self, material: Material) -> None:
        """Load the weights for this person; called before `film`, and before anything is written.

        Raises:
            UserError: weights are missing or do not fit.
        """

    @abstractmethod
    def film(
        self, material: Material, run: RunFolder, *, loggers: MakeLoggers
    ) -> tuple[Mapping[str, Any], GeneratedClip]:
        """Learn the person, unless that was done before or nothing is learnt, and generate.

        Args:
            run: folder of what is learnt, held by `only_writer`.
            loggers: builds those of a fine-tune.

        Returns:
            The record of the fine-tune, empty where nothing is learnt; frames of whatever size the method makes.

        Raises:
            UserError: weights are missing or do not fit.
        """
