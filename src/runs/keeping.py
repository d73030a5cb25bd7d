"""What a video depends on, and where the windows of a long one are kept."""

from collections.abc import Mapping

from torch import Tensor

from src.common.digests import arrays_sha256, digest
from src.common.trainer import TrainerSettings
from src.common.typed import identity
from src.models.backbone import VideoBackbone
from src.runs.conditions import images_sha256
from src.runs.identity import fine_tune_key
from src.runs.run_folder import UNFINISHED, RunFolder
from src.runs.settings import LearningSettings
from src.sampling.generate import KeepIn
from src.sampling.jobs import GenerationJob


def video_key(
    settings: LearningSettings, job: GenerationJob, trainer: TrainerSettings, learnt: Mapping[str, Tensor]
) -> str:
    """SHA-256 of everything that a video depends on, and nothing that only its files do.

    Args:
        settings: of the fine-tune; its model is the one that is sampled.
        job, trainer: of the video.
        learnt: what was trained, by name, which counts by content: of a backbone, or of the adapter that it has.
    """
    arrays = [tensor.detach().float().cpu().numpy() for _, tensor in sorted(learnt.items())]
    made_from = [identity(part, "sampling") for part in (settings.model, job.method, job.sampling)]
    made_from += [job.seed, job.target_poses.sha256(), job.target_prompt]
    made_from += [None if c is None else images_sha256(c) for c in job.target_conditions]
    device = [trainer.accelerator, trainer.precision]
    return digest([fine_tune_key(settings, job.clip), arrays_sha256(*arrays), *made_from, device])


def keep_in(
    run: RunFolder, settings: LearningSettings, job: GenerationJob, trainer: TrainerSettings, backbone: VideoBackbone
) -> KeepIn | None:
    """The place in a run folder where `generate` keeps windows; None of a video that is sampled as a whole.

    Args:
        settings, job, trainer: as of `video_key`.
        backbone: with what was learnt.
    """
    if job.sampling.window_frames is None:
        return None
    return KeepIn(run.path / UNFINISHED, video_key(settings, job, trainer, backbone.trainable_state()))
