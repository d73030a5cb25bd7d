"""What a run is made of: the frames of one person that it trains on, and those it is to film again (Sec. 5.1)."""

from dataclasses import dataclass

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.data.resolve import resolve_subject
from src.data.split import split_frames
from src.data.subject import ClipSettings, Subject
from src.pose.keypoints import PoseSequence
from src.runs.provenance import poses_sha256
from src.runs.run_folder import TrainingClip


@dataclass(frozen=True)
class Footage:
    """The two parts of a subject's clip that a run uses.

    Attributes:
        name: of the subject.
        rendered: a drawn person, not a filmed one.
        clip: the N training frames.
        test_frames: (M, H, W, 3) uint8 RGB, the held-out frames.
        test_poses: their M poses.
        training_indices, test_indices: where both lie in the subject's clip.
    """

    name: str
    rendered: bool
    clip: TrainingClip
    test_frames: np.ndarray
    test_poses: PoseSequence
    training_indices: list[int]
    test_indices: list[int]

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the training frames and poses and of the held-out poses."""
        return self.clip.checksums() | {"test_poses_sha256": poses_sha256(self.test_poses)}


def find_subject(cfg: DictConfig, subject: str) -> Subject:
    """`resolve_subject` with the settings of a run: its groups `data` and `pose`, and its `prompt`."""
    return resolve_subject(
        subject,
        settings=ClipSettings.from_config(cfg.data),
        root=cfg.data.root,
        extractor=lambda: instantiate(cfg.pose),
        prompt=cfg.prompt,
    )


def load_footage(cfg: DictConfig) -> Footage:
    """Find, render or prepare the subject of `conf/train.yaml`, and split its clip.

    Raises:
        UserError: no such subject, or a clip too short for the split.
    """
    subject = find_subject(cfg, str(cfg.subject))
    split = split_frames(len(subject), num_train=cfg.data.num_frames, num_test=cfg.data.num_test_frames)
    training, test = list(split.train), list(split.test)
    return Footage(
        name=subject.name,
        rendered=subject.rendered,
        clip=TrainingClip(subject.frames[training], subject.poses[training], subject.prompt, float(subject.fps)),
        test_frames=subject.frames[test],
        test_poses=subject.poses[test],
        training_indices=training,
        test_indices=test,
    )
