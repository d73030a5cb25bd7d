"""Settings of the measurement of retargeting."""

from dataclasses import dataclass

from src.common.errors import UserError
from src.common.typed import FileName, check_choice, check_range
from src.data.rendered import NUM_AVAILABLE, NUM_TEST, SEEDS, kind_of
from src.models.settings import refuse_controlnets
from src.runs.settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class RetargetSettings(LearningSettings):
    """What `conf/retarget.yaml` describes.

    Attributes:
        pairs: subject and driver, two who talk or two who dance.
        frames: of the driver's motion.
        output: folder of the results.
    """

    pairs: tuple[tuple[str, ...], ...]
    frames: int
    output: FileName

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_controlnets(self.model, "this measurement moves poses away from their frames")
        check_range("frames", self.frames, least=1, most=NUM_AVAILABLE + NUM_TEST)  # a driver has no more
        if not self.pairs:
            raise UserError(
                "pairs=[] names no one: give pairs of subject and driver, such as [[people_001,people_002]]"
            )
        for pair in self.pairs:
            if len(pair) != 2 or pair[0] == pair[1]:
                raise UserError(f"pairs: {list(pair)} must be a subject and another person as driver")
            for name in pair:
                check_choice("pairs", name, tuple(SEEDS))
            if kind_of(pair[0]) != kind_of(pair[1]):
                raise UserError(f"pairs: {pair[0]} and {pair[1]} differ in their kind of motion, talk and dance")
