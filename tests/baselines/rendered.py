"""Rendered people for the toy trainings: of each a picture, and the same person in other poses.

Dimensions: P people, F poses, S×S pixels; RGB uint8.
"""

from dataclasses import dataclass, replace

import numpy as np

from src.baselines.conditions import render_parts as colour_parts
from src.people.identity import Identity, sample_identity
from src.people.motion import FPS, sample_motion
from src.people.parts import render_parts
from src.people.render import render_pose
from src.pose.draw import draw_poses

KIND = "talk"
SECONDS_APART = 1.2
# What moves keypoints.
PROPORTIONS = (
    *("head", "face_width", "jaw", "eye_spacing", "eye_size", "nose", "mouth"),
    *("shoulders", "arms", "torso", "legs", "build"),
)


@dataclass(frozen=True, eq=False)
class People:
    """Pictures of people and what is known of them.

    Attributes:
        references, masks: (P, S, S, 3); (P, S, S) float32, 1 where the person is.
        frames, conditions, drawings: (P, F, S, S, 3): the same people in other poses, their DensePose renderings and
            their skeletons.
        persons: (P, F, S, S) bool, where the person of a frame is.
    """

    references: np.ndarray
    masks: np.ndarray
    frames: np.ndarray
    conditions: np.ndarray
    drawings: np.ndarray
    persons: np.ndarray

    def __len__(self) -> int:
        return len(self.references)


def render_people(seeds: list[int], num_poses: int, size: int) -> People:
    """Each person in a motion of their own."""
    return _stacked([_person(sample_identity(seed), seed, num_poses, size) for seed in seeds])


def render_lookalikes(seeds: list[int], num_poses: int, size: int, *, driver: int) -> People:
    """People of one build in one motion, so that poses say nothing of who it is: the driver's, in all of it.

    Args:
        driver: the seed of the person whose build, motion, DensePose and skeletons all have.
    """
    build = sample_identity(driver)
    same = {name: getattr(build, name) for name in PROPORTIONS}
    people = _stacked([_person(replace(sample_identity(s), **same), driver, num_poses, size) for s in seeds])
    drives = _stacked([_person(build, driver, num_poses, size)] * len(seeds))
    return replace(people, conditions=drives.conditions, drawings=drives.drawings)


def _person(identity: Identity, motion_seed: int, num_poses: int, size: int) -> tuple[np.ndarray, ...]:
    step = round(SECONDS_APART * FPS)
    first, *others = sample_motion(KIND, (num_poses + 1) * step, motion_seed)[::step]
    parts = np.stack([render_parts(identity, state, size) for state in others])
    posed = [render_pose(identity, state, size) for state in others]
    return (
        render_pose(identity, first, size)[0],
        (render_parts(identity, first, size) > 0).astype(np.float32),
        np.stack([frame for frame, _ in posed]),
        colour_parts(parts),
        np.concatenate([draw_poses(pose, size) for _, pose in posed]),
        parts > 0,
    )


def _stacked(people: list[tuple[np.ndarray, ...]]) -> People:
    return People(*(np.stack(arrays) for arrays in zip(*people, strict=True)))
