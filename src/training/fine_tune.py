"""The one-shot fine-tune (Sec. 4.1): from a training clip to a backbone that knows the person, in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning

from src.common.trainer import TrainerSettings
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.models.settings import GradientCheckpointing
from src.training.data_module import OneShotDataModule, encode_clip
from src.training.fitting import NOBODY, Fitting, Observers
from src.training.one_shot_module import OneShotModule
from src.training.settings import OptimizerSettings


@dataclass(frozen=True, kw_only=True)
class FineTuneJob:
    """What is learnt, and how.

    Attributes:
        clip: the N training frames, their poses and the source prompt.
        batch_frames: n, frames of a step.
        optimizer, trainer: settings.
        gradient_checkpointing: as of `ModelSettings`.
        seed: of frames, timesteps and noise.
        checkpoint_every: steps between two checkpoints.
    """

    clip: TrainingClip
    batch_frames: int
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    seed: int
    gradient_checkpointing: GradientCheckpointing = "auto"
    checkpoint_every: int = 50


def fine_tune(
    job: FineTuneJob,
    image_model: ImageModel,
    backbone: VideoBackbone,
    *,
    checkpoints: Path | None = None,
    observers: Observers = NOBODY,
) -> dict[str, Any]:
    """Train the backbone on the clip, in place.

    Args:
        checkpoints: folder of the checkpoint `last.ckpt`; a fine-tune that was stopped goes on from the one there with
            the same next loss. None: none are kept.

    Returns:
        The record of what it cost, as `fine_tune.json` holds it.

    Raises:
        UserError: loss or weights are not finite, or the time limit came before the last step.
        Stopped: on request, after a checkpoint.
    """
    lightning.seed_everything(job.seed, verbose=False)
    fitting = Fitting(
        trainer=job.trainer,
        rate="optimizer.lr",
        checkpoints=checkpoints,
        checkpoint_every=job.checkpoint_every,
        observers=observers,
    )
    clip = encode_clip(image_model, job.clip, fitting.device)
    num_timesteps = image_model.scheduler.config["num_train_timesteps"]
    data = OneShotDataModule(clip, batch_frames=job.batch_frames, num_timesteps=num_timesteps, seed=job.seed)
    module = OneShotModule(
        *(backbone, image_model.scheduler, job.optimizer), gradient_checkpointing=job.gradient_checkpointing
    )
    return fitting.fit(module, data) | {"trained_parameters": backbone.num_trainable()}
