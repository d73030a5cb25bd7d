"""Whole-body keypoints of a clip: the one pose type of this project.

Dimensions: F frames, K = 128 keypoints, in DWPose's order: 18 body (OpenPose order), 68 face, 21 left hand,
21 right hand. Left and right are the person's own.
"""

from dataclasses import dataclass

import numpy as np

from src.common.digests import arrays_sha256

NUM_KEYPOINTS = 128
PARTS: dict[str, slice] = {
    "body": slice(0, 18),
    "face": slice(18, 86),
    "left_hand": slice(86, 107),
    "right_hand": slice(107, 128),
}
# What a viewer looks at: the parts that latent editing moves (Sec. 4.3).
DETAILS = ("face", "left_hand", "right_hand")
BODY_NAMES = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle"),
    *("left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear"),
)


@dataclass(frozen=True, eq=False)
class PoseSequence:
    """Keypoints of one person over F frames.

    Attributes:
        xy: (F, K, 2) float32, x to the right and y down, in units of the frame: [0, 1] is inside, values
            beyond are outside the picture. Where `mask` is False the value means nothing (stored as 0).
        confidence: (F, K) float32 in [0, 1].
        mask: (F, K) bool, True where the keypoint was seen.

    Raises:
        ValueError: a field has another shape, or a seen coordinate or its confidence is not finite.
    """

    xy: np.ndarray
    confidence: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy, np.float32)
        if xy.ndim != 3 or xy.shape[1:] != (NUM_KEYPOINTS, 2):
            raise ValueError(f"keypoints must have shape (frames, {NUM_KEYPOINTS}, 2), got {xy.shape}")
        mask = np.asarray(self.mask, bool)
        confidence = np.asarray(self.confidence, np.float32)
        for name, value in (("mask", mask), ("confidence", confidence)):
            if value.shape != xy.shape[:2]:
                raise ValueError(f"{name} must have shape {xy.shape[:2]} to match the keypoints, got {value.shape}")
        if not (np.isfinite(xy[mask]).all() and np.isfinite(confidence[mask]).all()):
            raise ValueError("a keypoint that is marked as seen has a coordinate or confidence that is not finite")
        xy = np.where(mask[..., None], xy, np.float32(0))
        confidence = np.where(mask, confidence, np.float32(0))
        for name, value in (("xy", xy), ("confidence", confidence), ("mask", mask.copy())):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, index: int | slice | list[int] | np.ndarray) -> "PoseSequence":
        """Select frames; a single index keeps the frame axis."""
        if isinstance(index, (int, np.integer)):
            index = [index]
        return PoseSequence(self.xy[index], self.confidence[index], self.mask[index])

    @property
    def unseen(self) -> list[int]:
        """Frames without any keypoint, rising."""
        return np.flatnonzero(~self.mask.any(1)).tolist()

    @property
    def shown(self) -> np.ndarray:
        """(F,) bool, the frames of which a seen keypoint lies in the picture."""
        return (self.mask & ((self.xy >= 0) & (self.xy <= 1)).all(-1)).any(1)

    @staticmethod
    def concatenate(*sequences: "PoseSequence") -> "PoseSequence":
        """Join sequences along time."""
        return PoseSequence(
            np.concatenate([s.xy for s in sequences]),
            np.concatenate([s.confidence for s in sequences]),
            np.concatenate([s.mask for s in sequences]),
        )

    def sha256(self) -> str:
        """SHA-256 of the keypoints: of their values, which a file may hold compressed in several ways."""
        return arrays_sha256(self.xy, self.confidence, self.mask)

    def transformed(self, scale: tuple[float, float], offset: tuple[float, float]) -> "PoseSequence":
        """Map every coordinate to `xy * scale + offset`, as a crop of the frame needs."""
        return PoseSequence(
            self.xy * np.asarray(scale, np.float32) + np.asarray(offset, np.float32), self.confidence, self.mask
        )
