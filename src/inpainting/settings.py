"""Settings of a repair."""

from dataclasses import dataclass
from typing import Any, Literal

from src.common.errors import UserError
from src.common.typed import FileName, Raw, check_range, setting
from src.data.subject import check_prompt
from src.models.settings import refuse_controlnets
from src.pose.extractors.settings import ExtractorSettings
from src.runs.settings import LearningSettings, RunSettings

SegmentPoses = Literal["own", "interpolate"]


@dataclass(frozen=True, kw_only=True)
class RepairSettings(LearningSettings):
    """What `conf/repair.yaml` describes.

    Attributes:
        video: video file or folder of images.
        segments: first and last bad frame of each segment, counted from 0.
        segment_poses: `own`, extracted from the bad frames, or `interpolate`d between the good frames beside them
            (`src.inpainting.segments.segment_poses`).
        blend_frames: over how many frames light and colour are matched at each border; 0: not.
        crf: of the repaired video; 0: lossless.
        prompt: null: the subject's own.
        pose: the extractor.
        run_dir: null: outputs/repair/<name of the video>.
    """

    video: FileName
    segments: Any
    segment_poses: SegmentPoses = "own"
    blend_frames: int = 4
    crf: int = 0
    prompt: Raw | None = None
    pose: ExtractorSettings = setting(counts="nothing")
    run_dir: FileName | None = setting(None, counts="nothing")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_controlnets(self.model, "a repair has only the bad frames to show them")
        for key, default in (("fps", None), ("start", 0), ("max_frames", None)):
            if (value := getattr(self.data, key)) != default:
                raise UserError(f"data.{key}={value}: a repair keeps the whole clip at its own rate, leave it unset")
        check_prompt(self.prompt)
        check_range("blend_frames", self.blend_frames, least=0)
        check_range("crf", self.crf, least=0, most=51)

    @property
    def run(self) -> RunSettings:
        """The same as settings of a run, so that the person can be generated in other poses as well."""
        return RunSettings(
            **self.shared(),
            subject=self.video,
            prompt=self.prompt,
            pose=self.pose,
            sample_after_train=False,
            run_dir=self.run_dir,
        )
