"""Settings of the measurement of speed and memory."""

from dataclasses import dataclass, field
from typing import Literal

from src.common.errors import UserError
from src.common.typed import FileName, check_range
from src.models.settings import refuse_controlnets
from src.runs.settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class BenchSettings(LearningSettings):
    """What `conf/bench.yaml` describes.

    Attributes:
        system: `ours`; or one step of a window of `magicanimate`, at `data.resolution`, or of a frame of `disco`, at
            its 256 pixels, with the sizes of `model.configs`.
        num_target_frames: numbers M of target poses, each sampled exactly and as `sampling=fast` does.
        frame_chunks: values of `sampling.frame_chunk`, each with every M.
        measured: run and time it; false: count alone.
        profile: say which kernels a step of training, and each case of sampling, spends its time in.
        counted: numbers M of target poses for which operations are counted, which needs neither weights nor a device.
        output: write the figures to this JSON file too.
    """

    system: Literal["ours", "magicanimate", "disco"] = "ours"
    num_target_frames: list[int] = field(default_factory=lambda: [2])
    frame_chunks: list[int | str | None] = field(default_factory=lambda: ["auto"])
    measured: bool = True
    profile: bool = False
    counted: list[int] = field(default_factory=list)
    output: FileName | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_controlnets(self.model, "what is measured here is the paper's model")
        for number in (*self.num_target_frames, *self.counted):
            check_range("num_target_frames and counted", number, least=1)
        for chunk in self.frame_chunks:
            if isinstance(chunk, str) and chunk != "auto":
                raise UserError(f"frame_chunks={self.frame_chunks}: {chunk} is neither auto, null nor a number")
            if not isinstance(chunk, str):
                check_range("frame_chunks", chunk, least=1)
