"""What is the same of all pre-trainings, whatever the part."""

from dataclasses import dataclass

from src.common.typed import check_range

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
