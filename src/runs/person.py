"""A person who was learnt, or is about to be, ready to be generated in any poses."""

import logging
from dataclasses import dataclass
from functools import cached_property

from src.common.arrays import Frames, height_width
from src.common.errors import DamagedFile
from src.common.trainer import TrainerSettings
from src.data.subject_split import TrainingClip
from src.models.adapter import load_adapter, read_adapter
from src.models.backbone import VideoBackbone
from src.models.build import build_models
from src.models.image_model import ImageModel
from src.models.offload import check_offload
from src.models.settings import model_warning
from src.pose.keypoints import PoseSequence
from src.runs.keeping import keep_in, video_key
from src.runs.run_folder import RunFolder
from src.runs.settings import LearningSettings
from src.sampling.generate import generate
from src.sampling.jobs import GeneratedClip, GenerationJob
from src.sampling.settings import MethodSettings, SamplingSettings

log = logging.getLogger(__name__)
Models = tuple[ImageModel, VideoBackbone]


def untrained(settings: LearningSettings, clip: TrainingClip, *, rendered: bool) -> Models:
    """The models that are to learn the person of a clip; says what should be known before time is spent on it.

    Args:
        rendered: a drawn person, not a filmed one.

    Raises:
        UserError: no such weights or device, or frames of a size that the model does not take.
    """
    check_offload(settings.model.offload, settings.trainer.check_available())
    if warning := model_warning(settings.model, rendered=rendered):
        log.warning("%s", warning)
    image_model, backbone = build_models(settings.model)
    image_model.check_resolution(*sorted(height_width(clip.frames)))
    return image_model, backbone


@dataclass(frozen=True, eq=False)
class Person:
    """What a run holds; its models are loaded when they are first asked for.

    Attributes:
        settings: of the run.
        clip: what is learnt from.
        run: the run.
        built: its models where they are at hand: those that learn the person (`untrained`).
    """

    settings: LearningSettings
    clip: TrainingClip
    run: RunFolder
    built: Models | None = None

    @staticmethod
    def read(run: RunFolder) -> "Person":
        """Read a finished run, but for its models.

        Raises:
            UserError: no such run.
        """
        settings, clip = run.settings(), run.training()
        if len(clip.conditions) != len(settings.model.controlnets):
            raise DamagedFile(
                f"{run.path} has condition images for {len(clip.conditions)} of its {len(settings.model.controlnets)} "
                "model.controlnets: train the run again"
            )
        return Person(settings, clip, run)

    @staticmethod
    def load(run: RunFolder) -> "Person":
        """Read a finished run and load its models; errors as of `read` and `models`."""
        person = Person.read(run)
        _ = person.models
        return person

    @cached_property
    def models(self) -> Models:
        """Image model and backbone, with the run's adapter.

        Raises:
            UserError: no such weights, or the fine-tune did not finish.
        """
        if self.built is not None:
            return self.built
        image_model, backbone = build_models(self.settings.model)
        load_adapter(self.run.adapter(), backbone, base=image_model.base, additions=image_model.additions)
        return image_model, backbone

    def job(
        self,
        poses: PoseSequence,
        *,
        fps: float | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        method: MethodSettings | None = None,
        sampling: SamplingSettings | None = None,
        conditions: tuple[Frames | None, ...] = (),
    ) -> GenerationJob:
        """Generating the person in target poses; what is None is as in the run, the rate as in its clip.

        Args:
            conditions: of the target poses, as of `target_conditions`.
        """
        return GenerationJob(
            clip=self.clip,
            target_poses=poses,
            target_prompt=self.clip.prompt if prompt is None else prompt,
            method=method or self.settings.method,
            sampling=sampling or self.settings.sampling,
            seed=self.settings.seed if seed is None else seed,
            fps=self.clip.fps if fps is None else fps,
            target_conditions=conditions,
        )

    def video_key(self, job: GenerationJob, trainer: TrainerSettings | None = None) -> str:
        """SHA-256 of everything that the video of a job depends on, found without the models; see `generate`.

        Raises:
            UserError: the fine-tune did not finish, or its adapter is none.
        """
        return video_key(self.settings, job, trainer or self.settings.trainer, read_adapter(self.run.adapter()))

    def generate(
        self, job: GenerationJob, trainer: TrainerSettings | None = None, *, output: RunFolder | None = None
    ) -> GeneratedClip:
        """Generate a job of `job`.

        Args:
            trainer: device and precision; None: the run's.
            output: where the video is going to be written, held by `only_writer`: the windows of a long one are kept
                there until it is; None: all in memory.
        """
        trainer = trainer or self.settings.trainer
        image_model, backbone = self.models
        keep = None if output is None else keep_in(output, self.settings, job, trainer, backbone)
        return generate(job, image_model, backbone, trainer, keep=keep)
