"""Settings of a run: what `conf/train.yaml` describes, but for loggers and callbacks, which name code."""

from dataclasses import dataclass, field, fields
from typing import Any

from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.common.typed import FileName, Raw, check_range, setting
from src.data.settings import DataSettings
from src.models.settings import ModelSettings, check_precision, check_scales
from src.pose.extractors.settings import ExtractorSettings
from src.sampling.settings import MethodSettings, SamplingSettings
from src.training.settings import OptimizerSettings, PreviewSettings


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """How a person is learnt and generated, whoever it is: what all commands that fine-tune share.

    Attributes:
        data, model, method, sampling, optimizer, trainer: the config groups.
        seed: of everything random.
        fine_tune_cache: folder of finished fine-tunes, shared by runs that differ in sampling alone; null: none.
        checkpoint_every_n_steps: of the fine-tune.
    """

    data: DataSettings
    model: ModelSettings
    method: MethodSettings = setting(counts="sampling")
    sampling: SamplingSettings = setting(counts="sampling")
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    seed: int = 0
    fine_tune_cache: FileName | None = setting(None, counts="nothing")
    checkpoint_every_n_steps: int = setting(50, counts="nothing")

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.model.in_precision(self.trainer.precision))
        check_precision(self.model.dtype, self.trainer.precision)
        check_scales(self.model, self.sampling.controlnet_scales)
        if self.optimizer.fused and self.trainer.precision == "16-mixed":
            raise UserError(
                "optimizer.fused=true cannot go with trainer.precision=16-mixed, whose gradients are scaled when they "
                "are clipped: leave optimizer.fused out or give trainer.precision=bf16-mixed"
            )
        check_range("seed", self.seed, least=0, most=2**31 - 1)
        check_range("checkpoint_every_n_steps", self.checkpoint_every_n_steps, least=1)

    def shared(self) -> dict[str, Any]:
        """These fields of whatever settings are made of them, by name, for other settings of the kind."""
        return {field.name: getattr(self, field.name) for field in fields(LearningSettings)}


@dataclass(frozen=True, kw_only=True)
class RunSettings(LearningSettings):
    """One run of `src.train`.

    Attributes:
        subject: video, folder of images, prepared name or rendered person.
        prompt: source prompt p_s; null: the subject's own.
        target_prompt: p_t; null: the source prompt.
        pose: the extractor. It counts by the poses that it gives, whose checksum is part of every key.
        preview: pictures in the course of the fine-tune.
        sample_after_train: generate the held-out poses.
        run_dir: folder of the run; null: a new one.
    """

    subject: FileName
    prompt: Raw | None = None
    target_prompt: Raw | None = setting(None, counts="sampling")
    pose: ExtractorSettings = setting(counts="nothing")
    preview: PreviewSettings = field(default_factory=PreviewSettings, metadata={"counts": "nothing"})
    sample_after_train: bool = setting(True, counts="nothing")
    run_dir: FileName | None = setting(None, counts="nothing")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data.num_test_frames and (self.sample_after_train or self.preview.every_n_steps):
            raise UserError(
                "data.num_test_frames=0 holds out no frame to generate: hold out at least one, or set "
                "sample_after_train=false and preview.every_n_steps=0"
            )
