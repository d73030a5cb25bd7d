"""What is to be generated, and what came of it.

Dimensions: N training frames, M target poses, H×W pixels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.common.arrays import Frames, height_width, picked
from src.data.subject_split import TrainingClip
from src.pose.keypoints import PoseSequence
from src.sampling.settings import MethodSettings, SamplingSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class GenerationJob:
    """A person who was learnt, and the poses to generate them in.

    Attributes:
        clip: the N frames that the model was fine-tuned on, their poses and the source prompt p_s.
        target_poses: M poses.
        target_prompt: p_t, used for sampling.
        method: the techniques of Sec. 4.
        sampling: steps, guidance, chunks.
        seed: of the noise latent, where `method.init=noise`.
        fps: of the video.
        target_conditions: condition images (M, H, W, 3) of each ControlNet beside the pose one; None: it rests.
    """

    clip: TrainingClip
    target_poses: PoseSequence
    target_prompt: str
    method: MethodSettings
    sampling: SamplingSettings
    seed: int
    fps: float
    target_conditions: tuple[Frames | None, ...] = ()

    def part(self, which: slice | list[int]) -> "GenerationJob":
        """The same for some of the target poses."""
        conditions = tuple(None if frames is None else picked(frames, which) for frames in self.target_conditions)
        return replace(self, target_poses=self.target_poses[which], target_conditions=conditions)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return height_width(self.clip.frames)


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference frame of a segment of the target poses and what was done with it.

    Attributes:
        index: r in [0, N).
        distances: (N,) the means of Eq. 5 over shared keypoints, in squared units of the frame.
        skipped: target frames in which each piece was not edited.
        num_edits: rectangles pasted.
        num_frames: length of the segment.
    """

    index: int
    distances: np.ndarray
    skipped: Counter
    num_edits: int
    num_frames: int


@dataclass(frozen=True, eq=False)
class GeneratedClip:
    """A generated video.

    Attributes:
        frames: (M, H, W, 3) uint8 RGB; of windows that were kept, on disk until they are read.
        poses: the M target poses.
        fps: frames a second.
        references: of the segments of the target poses, in the order of time; none of a method that selects none.
        reference_frame: (H, W, 3) uint8 RGB, the training frame r of the longest segment.
        cost: seconds, memory and the settings that they depend on, as `summary.json` holds them.
    """

    frames: np.ndarray
    poses: PoseSequence
    fps: float
    references: tuple[Reference, ...]
    reference_frame: np.ndarray
    cost: dict[str, Any]


def merged(parts: Sequence[Reference]) -> Reference:
    """Of the windows of one segment, the segment's."""
    return replace(
        parts[0],
        skipped=Counter({piece: sum(part.skipped[piece] for part in parts) for piece in parts[0].skipped}),
        num_edits=sum(part.num_edits for part in parts),
        num_frames=sum(part.num_frames for part in parts),
    )


def longest(references: Sequence[Reference]) -> Reference:
    """The reference of the longest segment, the first of equals."""
    return max(references, key=lambda reference: reference.num_frames)


def describe_references(references: Sequence[Reference]) -> dict[str, Any]:
    """What `reference.json` holds, of segments in the order of time.

    `reference_frame` and `distances` are those of the longest segment; `edits` and `skipped` sum over all. A training
    pose that shares no keypoint has distance null.
    """
    segments, first = [], 0
    for reference in references:
        last = first + reference.num_frames - 1
        segments.append({"frames": [first, last], "reference_frame": reference.index})
        first = last + 1
    chosen = longest(references)
    return {
        "reference_frame": chosen.index,
        "distances": [float(d) if np.isfinite(d) else None for d in chosen.distances],
        "edits": sum(r.num_edits for r in references),
        "skipped": {piece: sum(r.skipped[piece] for r in references) for piece in references[0].skipped},
        "segments": segments,
    }
