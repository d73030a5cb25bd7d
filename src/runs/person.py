"""A person who was learnt, ready to be generated in any poses."""

from dataclasses import dataclass

from src.common.arrays import Frames
from src.common.errors import DamagedFile
from src.common.trainer import TrainerSettings
from src.data.pose_sources import TargetPoses
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.build import build_models
from src.models.image_model import ImageModel
from src.runs.keeping import keep_in, video_key
from src.runs.run_folder import RunFolder
from src.runs.settings import RunSettings
from src.sampling.generate import generate
from src.sampling.jobs import GeneratedClip, GenerationJob
from src.sampling.settings import MethodSettings, SamplingSettings


@dataclass(frozen=True, eq=False)
class Person:
    """What a finished run holds, loaded.

    Attributes:
        settings: of the run.
        clip: what was learnt from.
        image_model, backbone: with the run's adapter.
    """

    settings: RunSettings
    clip: TrainingClip
    image_model: ImageModel
    backbone: VideoBackbone

    @staticmethod
    def load(run: RunFolder) -> "Person":
        """Read a finished run.

        Raises:
            UserError: no such run, or its fine-tune did not finish.
        """
        settings, clip = run.settings(), run.training()
        if len(clip.conditions) != len(settings.model.controlnets):
            raise DamagedFile(
                f"{run.path} has condition images for {len(clip.conditions)} of its {len(settings.model.controlnets)} "
                "model.controlnets: train the run again"
            )
        image_model, backbone = build_models(settings.model)
        run.load_adapter(backbone, base=image_model.base, additions=image_model.additions)
        return Person(settings, clip, image_model, backbone)

    def job(
        self,
        target: TargetPoses,
        *,
        prompt: str | None = None,
        seed: int | None = None,
        method: MethodSettings | None = None,
        sampling: SamplingSettings | None = None,
        conditions: tuple[Frames | None, ...] = (),
    ) -> GenerationJob:
        """Generating the person in the target poses; what is None is as in the run.

        Args:
            conditions: of the target poses, as of `target_conditions`.
        """
        return GenerationJob(
            clip=self.clip,
            target_poses=target.poses,
            target_prompt=self.clip.prompt if prompt is None else prompt,
            method=method or self.settings.method,
            sampling=sampling or self.settings.sampling,
            seed=self.settings.seed if seed is None else seed,
            fps=target.fps,
            target_conditions=conditions,
        )

    def video_key(self, job: GenerationJob, trainer: TrainerSettings | None = None) -> str:
        """SHA-256 of everything that the video of a job depends on; see `generate`."""
        return video_key(self.settings, job, trainer or self.settings.trainer, self.backbone)

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
        keep = None if output is None else keep_in(output, self.settings, job, trainer, self.backbone)
        return generate(job, self.image_model, self.backbone, trainer, keep=keep)
