"""Settings of the config group `data`: which frames of a clip a run uses."""

from dataclasses import dataclass

from src.common.typed import FileName, check_range, setting
from src.data.crop import CropMode
from src.data.subject import ClipSettings


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The clip, and its split (Sec. 5.1).

    Attributes:
        root: folder of the prepared subjects.
        num_frames: N, training frames.
        num_test_frames: held out at the end of the clip.
        batch_frames: n, frames of a training step.
        resolution, aspect, crop, fps, start, max_frames: as of `ClipSettings`.
    """

    root: FileName = setting("data", counts="nothing")
    num_frames: int = 8
    num_test_frames: int = 100
    batch_frames: int = 8
    resolution: int = 512
    aspect: str = "square"
    crop: CropMode = "person"
    fps: float | None = None
    start: int = 0
    max_frames: int | None = None

    def __post_init__(self) -> None:
        check_range("data.num_frames", self.num_frames, least=1)
        check_range("data.num_test_frames", self.num_test_frames, least=0)
        check_range("data.batch_frames", self.batch_frames, least=1)
        _ = self.clip

    @property
    def clip(self) -> ClipSettings:
        """What of a video is prepared, and how."""
        return ClipSettings(
            resolution=self.resolution,
            aspect=self.aspect,
            crop=self.crop,
            fps=self.fps,
            start=self.start,
            max_frames=self.max_frames,
        )
