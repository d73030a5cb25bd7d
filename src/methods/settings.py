"""Settings of every method that films a person: the config group `method`; and what each kind asks for."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from src.baselines.disco.settings import PUBLIC_SEED, FineTuneSettings
from src.baselines.disco.settings import SamplingSettings as DisCoSampling
from src.baselines.magicanimate.settings import NetworkSettings
from src.baselines.magicanimate.settings import SamplingSettings as MagicAnimateSampling
from src.common.errors import UserError
from src.common.typed import FileName, setting
from src.media.pictures import Resize
from src.sampling.settings import MethodSettings


@dataclass(frozen=True, kw_only=True)
class MagicAnimateSettings(MagicAnimateSampling):
    """MagicAnimate on the image model of `model=`.

    Attributes:
        name: what results are listed under.
        weights: folder with its published files. They count by name, size and time.
        network: how its networks are joined.
        resize: Pillow filter by which frames of another size than the protocol's are brought to that.
    """

    kind: Literal["magicanimate"] = setting("magicanimate", counts="nothing")
    name: str = "magicanimate"
    weights: FileName | None = setting(None, counts="nothing")
    network: NetworkSettings = field(default_factory=NetworkSettings)
    resize: Resize = "bicubic"


@dataclass(frozen=True, kw_only=True)
class DisCoSettings(DisCoSampling):
    """DisCo, whose checkpoint is complete.

    Attributes:
        name, resize: see `MagicAnimateSettings`.
        weights: its checkpoint, a file. It counts by name, size and time.
        configs: folder of the base model's configs.
    """

    kind: Literal["disco"] = setting("disco", counts="nothing")
    name: str = "disco"
    weights: FileName | None = setting(None, counts="nothing")
    configs: FileName | None = setting(None, counts="nothing")
    resize: Resize = "bicubic"


@dataclass(frozen=True, kw_only=True)
class DisCoFineTunedSettings(DisCoSampling):
    """DisCo after its fine-tuning on the training frames of each subject.

    Attributes:
        name, weights, configs, resize: see `DisCoSettings`.
        fine_tune: its fine-tuning.
    """

    kind: Literal["disco_ft"] = setting("disco_ft", counts="nothing")
    name: str = "disco-finetuned"
    weights: FileName | None = setting(None, counts="nothing")
    configs: FileName | None = setting(None, counts="nothing")
    resize: Resize = "bicubic"
    fine_tune: FineTuneSettings = setting(default_factory=FineTuneSettings, counts="fine_tune")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fine_tune.resolution != self.resolution:
            raise UserError(
                f"method.fine_tune.resolution={self.fine_tune.resolution} and method.resolution={self.resolution} are "
                "of one model: give both the same"
            )


AnyMethodSettings = Annotated[
    MethodSettings | MagicAnimateSettings | DisCoSettings | DisCoFineTunedSettings, Field(discriminator="kind")
]


@dataclass(frozen=True)
class MethodKind:
    """What a kind of method asks for.

    Attributes:
        frames: of the subject it sees the `training` frames or the first of them alone, the `reference`.
        trains: what it learns from them; None: nothing.
        conditions: it needs a DensePose rendering for each target pose.
        masks: it needs masks of the person, of the frames that it sees.
        driven_by: the condition that its frames follow, for the results.
        uses: the groups of settings that it reads beside its own; None: all of a fine-tune's.
        public_seed: the seed of its public code.
    """

    frames: Literal["training", "reference"]
    driven_by: str
    trains: str | None = None
    conditions: bool = False
    masks: bool = False
    uses: tuple[str, ...] | None = None
    public_seed: int = 0

    def num_frames(self, training_frames: int) -> int:
        """Frames of the subject that it sees, the NFs of the paper's tables."""
        return training_frames if self.frames == "training" else 1


KINDS = {
    "posecrafter": MethodKind("training", "whole-body skeleton", trains="the temporal attention of the video model"),
    "magicanimate": MethodKind(
        "reference", "DensePose", conditions=True, uses=("data", "model", "trainer", "seed"), public_seed=1
    ),
    "disco": MethodKind(
        "reference", "body skeleton", masks=True, uses=("data", "trainer", "seed"), public_seed=PUBLIC_SEED
    ),
    "disco_ft": MethodKind(
        "training",
        "body skeleton",
        trains="DisCo's cross-attention and background ControlNet",
        masks=True,
        uses=("data", "trainer", "seed"),
        public_seed=PUBLIC_SEED,
    ),
}
