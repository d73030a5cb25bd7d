"""What a method needs of a subject, found or made: conditions and masks beside its frames and poses.

Dimensions: F frames of the subject, N training frames, M target poses, S×S pixels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from src.baselines.conditions import NUM_PARTS, read_conditions, render_parts, require_conditions
from src.baselines.masks import Masks, read_masks, segment_people, subject_masks
from src.baselines.per_frame import FrameGeometry
from src.common.errors import UserError
from src.data.crop import CropBox
from src.data.pose_sources import TargetPoses
from src.data.rendered import NUM_AVAILABLE, NUM_TEST, SEEDS, kind_of
from src.data.subject import Subject
from src.data.subject_split import SubjectSplit
from src.methods.base import Material
from src.methods.settings import MethodKind
from src.people.identity import sample_identity
from src.people.parts import render_clip_parts

RENDERER = "the renderer"


def check_square(subject: Subject) -> None:
    """Raise UserError where a subject's frames are not square, which the methods of others take alone."""
    height, width = subject.size
    if height != width:
        raise UserError(
            f"subject {subject.name} has frames of {width}x{height} pixels, and this method takes square ones: prepare "
            "it with data.aspect=square"
        )


def geometry_of(subject: Subject) -> FrameGeometry:
    """How the subject's square frames came from those of its video, as its record says.

    Raises:
        UserError: they are not square.
    """
    check_square(subject)
    size, box = subject.provenance.get("frame_size"), subject.provenance.get("crop_box")
    if not isinstance(size, Mapping) or not isinstance(box, Mapping):
        return FrameGeometry(subject.resolution)
    return FrameGeometry(subject.resolution, (int(size["width"]), int(size["height"])), CropBox(**box))


def held_out_material(
    subject: Subject,
    split: SubjectSplit,
    kind: MethodKind,
    *,
    condition_root: str | None,
    mask_root: str | None,
) -> Material:
    """A subject of a benchmark and its held-out poses.

    Args:
        condition_root, mask_root: folders of what the user gives; None: a rendered person knows its own, masks of a
            filmed one are made by MediaPipe, and its conditions cannot be made.

    Raises:
        UserError: what the method needs is not there, or not as it must be.
    """
    found: dict[str, Any] = {}
    sources = {}
    if kind.conditions:
        images, sources["conditions"] = _conditions(subject, condition_root)
        found["conditions"] = images[split.test_indices]
    if kind.masks:
        seen = split.training_indices[: kind.num_frames(len(split.training_indices))]
        masks = _masks(subject, seen, mask_root)
        found["masks"], sources["masks"] = masks.values, masks.source
    return Material(
        reference=split.training.frames[0],
        clip=split.training,
        poses=split.test_poses,
        fps=split.training.fps,
        rendered=split.rendered,
        sources=sources,
        **found,
    )


def check_given(kind: MethodKind, *, condition: str | None, mask: str | None) -> None:
    """Raise a UserError where a method is not given what it needs beside a picture, or is given what it does not take.

    Args:
        condition, mask: as of `picture_material`.
    """
    for given, needed, option in ((condition, kind.conditions, "condition"), (mask, kind.masks, "mask")):
        if given is not None and not needed:
            raise UserError(f"{option}={given}: this method takes none; leave it out")
    if kind.conditions and condition is None:
        raise UserError(
            "condition= is missing: this method follows a DensePose rendering of poses=, with as many frames: give a "
            "video or a folder in the public colouring, or an .npz with parts or iuv"
        )


def picture_material(
    picture: np.ndarray,
    target: TargetPoses,
    kind: MethodKind,
    *,
    condition: str | None,
    mask: str | None,
    geometry: FrameGeometry,
) -> Material:
    """One picture of a person and target poses from anywhere.

    Args:
        picture: (S, S, 3) uint8 RGB.
        condition: DensePose of the target poses' video: a video, a folder or an array of part indices.
        mask: of the picture, or of the larger one that it was cut out of: an image or an array; None: by MediaPipe.
        geometry: how it was cut out.

    Raises:
        UserError: it is not as it must be.
    """
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if kind.conditions:
        assert condition is not None, "check_given has looked"
        driver = FrameGeometry(picture.shape[0]) if target.driver is None else geometry_of(target.driver)
        read = read_conditions(condition, num_frames=len(target.poses), geometry=driver)
        found["conditions"], sources["conditions"] = read.images, read.kind
    if kind.masks:
        masks = segment_people(picture[None]) if mask is None else read_masks(mask, num_frames=1, geometry=geometry)
        found["masks"], sources["masks"] = masks.values, masks.source
    return Material(reference=picture, clip=None, poses=target.poses, fps=target.fps, sources=sources, **found)


def _conditions(subject: Subject, root: str | None) -> tuple[np.ndarray, str]:
    """(F, S, S, 3) renderings of all of the subject's frames, and where they are from."""
    if root is None and subject.rendered:
        return render_parts(_rendered_parts(subject)), RENDERER
    path = require_conditions(root, subject.name)
    read = read_conditions(path, num_frames=len(subject), geometry=geometry_of(subject))
    return read.images, read.kind


def _masks(subject: Subject, frames: list[int], root: str | None) -> Masks:
    """(N, S, S) masks of some of the subject's frames, and where they are from."""
    if root is None and subject.rendered:
        return Masks((_rendered_parts(subject)[frames] > 0).astype(np.float32), RENDERER)
    return subject_masks(subject.frames, frames, root=root, name=subject.name, geometry=geometry_of(subject))


def _rendered_parts(subject: Subject) -> np.ndarray:
    """(F, S, S) uint8 part indices of a rendered person, who knows them."""
    identity, frames = sample_identity(SEEDS[subject.name]), NUM_AVAILABLE + NUM_TEST
    parts = render_clip_parts(identity, kind_of(subject.name), frames, subject.resolution, SEEDS[subject.name])
    assert parts.max() <= NUM_PARTS, "numbered as DensePose numbers them"
    return parts
