"""Settings of a pre-training: what is the same of all of them, whatever the part."""

from dataclasses import dataclass

from src.common.trainer import SeveralDevicesSettings, seconds_of
from src.common.typed import FileName, check_range

STEP = "part.module.settings"
RATE = f"{STEP}.learning_rate"


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How each step trains.

    The learning rate rises linearly for `warmup_steps`, stays, and falls linearly to zero over the last
    `decay_fraction` of the trainer's `max_steps`: until then the number of steps can still be changed by a resume.

    Attributes:
        batch_size: B, of all processes together.
        learning_rate: at its highest, of AdamW.
        weight_decay: of AdamW.
        warmup_steps: see above.
        decay_fraction: see above, in (0, 1].
        seed: of the order of the frames, of noise and of crops.
    """

    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    decay_fraction: float
    seed: int

    def __post_init__(self) -> None:
        check_range(f"{STEP}.batch_size", self.batch_size, least=1)
        check_range(RATE, self.learning_rate, above=0, most=1e3)
        check_range(f"{STEP}.weight_decay", self.weight_decay, least=0, most=1e3)
        check_range(f"{STEP}.warmup_steps", self.warmup_steps, least=0)
        check_range(f"{STEP}.decay_fraction", self.decay_fraction, above=0, most=1)
        check_range(f"{STEP}.seed", self.seed, least=0)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """A pool of rendered people; see `src.miniature.pools.render_pool`."""

    folder: FileName
    identities: int
    frames_per_identity: int
    size: int
    first_seed: int

    def __post_init__(self) -> None:
        for name in ("identities", "frames_per_identity", "size"):
            check_range(f"data: {name} of {self.folder}", getattr(self, name), least=1)
        check_range(f"data: first_seed of {self.folder}", self.first_seed, least=0)


@dataclass(frozen=True, kw_only=True)
class PoolsSettings:
    """The people to train on, those to measure on, and processes that render; null: one for every core."""

    workers: int | None = None
    train: PoolSettings
    heldout: PoolSettings

    def __post_init__(self) -> None:
        check_range("data.workers", self.workers, least=1)


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """How long a part is trained: what of `conf/part` is not read by its module.

    Attributes:
        max_steps: of the whole training.
        validate_every: steps between two measurements on held-out people.
        ema_decay: of the averaged weights, a step.
    """

    name: str
    max_steps: int
    validate_every: int
    ema_decay: float

    def __post_init__(self) -> None:
        check_range("part.max_steps", self.max_steps, least=1)
        check_range("part.validate_every", self.validate_every, least=1)
        check_range("part.ema_decay", self.ema_decay, least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What `conf/pretrain.yaml` describes, but for the networks, which are `_target_`s of `conf/part`.

    Attributes:
        folder, run_dir, weights_dir: of everything, of checkpoints and logs, of finished weights.
        checkpoint_every: steps between two checkpoints.
        max_time, finish_in: DD:HH:MM:SS; see `src.miniature.training.train`.
    """

    seed: int
    folder: FileName
    run_dir: FileName
    weights_dir: FileName
    data: PoolsSettings
    part: PartSettings
    trainer: SeveralDevicesSettings
    checkpoint_every: int
    max_time: str | int | None
    finish_in: str | int | None

    def __post_init__(self) -> None:
        check_range("seed", self.seed, least=0, most=2**31 - 1)
        check_range("checkpoint_every", self.checkpoint_every, least=1)
        for name in ("max_time", "finish_in"):
            if (time := getattr(self, name)) is not None:
                seconds_of(name, str(time))
