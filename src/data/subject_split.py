"""A subject's clip in its two parts: the N frames to fine-tune on, and those held out to be generated (Sec. 5.1).

Dimensions: N training frames, M held-out frames, H×W pixels; RGB uint8.
"""

from dataclasses import dataclass

import numpy as np

from src.common.digests import arrays_sha256
from src.data.settings import DataSettings
from src.data.split import split_frames
from src.data.subject import Subject
from src.pose.keypoints import PoseSequence


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """What a model is fine-tuned on.

    Attributes:
        frames: (N, H, W, 3); poses: N poses; prompt: p_s; fps: of the clip that they come from.
        conditions: images (N, H, W, 3) for each ControlNet beside the pose one.
        source: of the clip that they come from, see `Subject.source`; None: not known.
    """

    frames: np.ndarray
    poses: PoseSequence
    prompt: str
    fps: float
    conditions: tuple[np.ndarray, ...] = ()
    source: str | None = None

    def checksums(self) -> dict[str, str]:
        """SHA-256 of frames, poses and, where there are any, condition images."""
        found = {
            "training_frames_sha256": arrays_sha256(self.frames),
            "training_poses_sha256": self.poses.sha256(),
        }
        return found | ({"training_conditions_sha256": arrays_sha256(*self.conditions)} if self.conditions else {})


@dataclass(frozen=True, eq=False)
class SubjectSplit:
    """The two parts of a subject's clip that a run uses.

    Attributes:
        name: of the subject.
        rendered: a drawn person, not a filmed one.
        training: the N training frames.
        test_frames: (M, H, W, 3), the held-out frames.
        test_poses: their M poses.
        test_conditions: images (M, H, W, 3) of them for each ControlNet beside the pose one.
        training_indices, test_indices: where both lie in the subject's clip.
    """

    name: str
    rendered: bool
    training: TrainingClip
    test_frames: np.ndarray
    test_poses: PoseSequence
    training_indices: list[int]
    test_indices: list[int]
    test_conditions: tuple[np.ndarray, ...] = ()

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the training frames and poses and of the held-out poses."""
        return self.training.checksums() | {"test_poses_sha256": self.test_poses.sha256()}


def split_subject(subject: Subject, data: DataSettings) -> SubjectSplit:
    """Hold out the last frames of the subject's clip and take the training frames from those before.

    Raises:
        UserError: a clip too short for the split.
    """
    num_train, num_test = data.num_frames, data.num_test_frames
    split = split_frames(len(subject), num_train=num_train, num_test=num_test, unseen=subject.poses.unseen)
    training, test = list(split.train), list(split.test)
    return SubjectSplit(
        name=subject.name,
        rendered=subject.rendered,
        training=training_clip(subject, training),
        # A slice, of a clip on disk a view, takes no memory.
        test_frames=subject.frames[split.num_available :],
        test_poses=subject.poses[test],
        training_indices=training,
        test_indices=test,
    )


def training_clip(subject: Subject, indices: list[int]) -> TrainingClip:
    """The frames at those indices as a training clip."""
    frames, poses = subject.frames[indices], subject.poses[indices]
    return TrainingClip(frames, poses, subject.prompt, float(subject.fps), source=subject.source)
