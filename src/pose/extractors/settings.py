"""Settings of the pose extractors: the config group `pose`. `person`: see `src.pose.tracking.follow`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from src.common.typed import FileName, check_range
from src.pose.extractors.base import FileExtractor, PoseExtractor
from src.pose.extractors.dwpose import Device, DWPoseExtractor
from src.pose.tracking import PersonChoice, check_person


@dataclass(frozen=True, kw_only=True)
class DWPoseSettings:
    """DWPose, the paper's extractor; see `DWPoseExtractor`."""

    kind: Literal["dwpose"]
    detector: FileName
    estimator: FileName
    device: Device = "auto"
    confidence_threshold: float = 0.3
    person: PersonChoice = "largest"

    def __post_init__(self) -> None:
        check_person(self.person)
        check_range("pose.confidence_threshold", self.confidence_threshold, least=0, most=1)

    def build(self) -> PoseExtractor:
        """Cheap: weights are read by the first frame."""
        return DWPoseExtractor(
            detector=self.detector,
            estimator=self.estimator,
            device=self.device,
            confidence_threshold=self.confidence_threshold,
            person=self.person,
        )


@dataclass(frozen=True, kw_only=True)
class MediaPipeSettings:
    """MediaPipe Holistic; see `MediaPipeExtractor`."""

    kind: Literal["mediapipe"]
    model_complexity: Literal[0, 1, 2] = 1
    min_confidence: float = 0.5
    visibility_threshold: float = 0.5
    person: PersonChoice = "largest"

    def __post_init__(self) -> None:
        check_person(self.person, alone="pose=mediapipe")
        check_range("pose.min_confidence", self.min_confidence, least=0, most=1)
        check_range("pose.visibility_threshold", self.visibility_threshold, least=0, most=1)

    def build(self) -> PoseExtractor:
        """Cheap: the models are loaded by the first frame."""
        from src.pose.extractors.mediapipe import MediaPipeExtractor

        return MediaPipeExtractor(
            model_complexity=self.model_complexity,
            min_confidence=self.min_confidence,
            visibility_threshold=self.visibility_threshold,
        )


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """Keypoints that were made elsewhere; see `FileExtractor`."""

    kind: Literal["file"]
    path: FileName | None = None
    person: PersonChoice = "largest"

    def __post_init__(self) -> None:
        check_person(self.person)

    def build(self) -> PoseExtractor:
        """Cheap: the file is read with the first clip."""
        return FileExtractor(path=self.path, person=self.person)


@dataclass(frozen=True, kw_only=True)
class MiniSettings:
    """The miniature detector of rendered people; see `MiniExtractor`."""

    kind: Literal["mini"]
    visibility_threshold: float = 0.5
    person: PersonChoice = "largest"

    def __post_init__(self) -> None:
        check_person(self.person, alone="pose=mini")
        check_range("pose.visibility_threshold", self.visibility_threshold, least=0, most=1)

    def build(self) -> PoseExtractor:
        """Cheap: weights are read by the first frame."""
        from src.pose.extractors.mini import MiniExtractor

        return MiniExtractor(visibility_threshold=self.visibility_threshold)


ExtractorSettings = Annotated[
    DWPoseSettings | MediaPipeSettings | FileSettings | MiniSettings, Field(discriminator="kind")
]
