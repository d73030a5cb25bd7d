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
        aspect: `auto`: the video's own shape, `source`, of a clip of one's own; `square` of the clips of a data set,
            as the benchmarks have them, and for methods that film squares. Or as of `ClipSettings`.
        resolution, crop, fps, start, max_frames: as of `ClipSettings`.
    """

    root: FileName = setting("data", counts="nothing")
    num_frames: int = 8
    num_test_frames: int = 100
    batch_frames: int = 8
    resolution: int = 512
    aspect: str = "auto"
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
        """What of a video of one's own is prepared, and how."""
        return self._clip("source")

    @property
    def square_clip(self) -> ClipSettings:
        """The same of a clip of a data set, and for methods that film squares: square unless another shape is given."""
        return self._clip("square")

    def _clip(self, auto: str) -> ClipSettings:
        return ClipSettings(
            resolution=self.resolution,
            aspect=auto if self.aspect == "auto" else self.aspect,
            crop=self.crop,
            fps=self.fps,
            start=self.start,
            max_frames=self.max_frames,
        )
