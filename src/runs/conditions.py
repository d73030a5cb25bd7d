"""What ControlNets beside the pose one are shown: of a subject's clip, and of target poses from anywhere.

Dimensions: F frames of a clip, N training frames, M target poses, H×W pixels, RGB uint8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from src.common.arrays import Frames, collected
from src.common.counting import counted
from src.common.digests import frames_sha256
from src.common.errors import UserError
from src.data.crop import CropBox, crop_frame
from src.data.pose_sources import PoseSourceSettings, TargetPoses
from src.data.prepare import content_sha256
from src.data.subject import Subject
from src.data.subject_split import SubjectSplit
from src.media.contact_sheet import Row, evenly_spaced
from src.media.video import read_video
from src.models.control_images import DrawnImages, drawer
from src.models.settings import ModelSettings
from src.runs.generated import SHEET_COLUMNS
from src.sampling.settings import SamplingSettings

Source = TypeVar("Source", bound=PoseSourceSettings)


def scales_of(model: ModelSettings, sampling: SamplingSettings) -> Sequence[float]:
    """Factors on the residuals of the ControlNets beside the pose one, as they count in sampling."""
    return sampling.scales_beside([net.scale for net in model.controlnets])


def given_checksums(model: ModelSettings) -> dict[str, str]:
    """SHA-256 of the condition images that are given; empty where there are none.

    Raises:
        UserError: they are not there.
    """
    # One of them at most may have any.
    given = [net.images for net in model.controlnets if net.images is not None]
    return {"given_conditions_sha256": content_sha256(Path(given[0]))} if given else {}


def with_conditions(split: SubjectSplit, subject: Subject, model: ModelSettings) -> SubjectSplit:
    """The split with the condition images of both its parts, for each ControlNet beside the pose one.

    Raises:
        UserError: a detector's weights are not there, or given images do not fit the clip.
    """
    training, test = [], []
    for net in model.controlnets:
        if net.images is not None:
            images = _given(net.images, count=len(subject), size=subject.size, clip=subject)
            training.append(np.stack([images[index] for index in split.training_indices]))
            test.append(np.stack([images[index] for index in split.test_indices]) if split.test_indices else images[:0])
        else:
            draw = drawer(net)
            training.append(np.stack([draw(frame) for frame in split.training.frames]))
            drawn = [draw(frame) for frame in split.test_frames]
            test.append(np.stack(drawn) if drawn else np.empty((0, *subject.size, 3), np.uint8))
    clip = replace(split.training, conditions=tuple(training))
    return replace(split, training=clip, test_conditions=tuple(test))


def following(source: Source, model: ModelSettings, sampling: SamplingSettings) -> Source:
    """The same poses, not moved away from the frames that other ControlNets follow with them.

    Raises:
        UserError: they are asked to be moved.
    """
    if not any(scales_of(model, sampling)):
        return source
    if source.retarget not in (None, "none"):
        raise UserError(
            f"retarget={source.retarget} moves the poses away from the frames that model.controlnets follow: give "
            f"retarget=none, or let these rest: sampling.controlnet_scales={[0] * len(model.controlnets)}"
        )
    return replace(source, retarget="none")


def target_conditions(
    model: ModelSettings,
    sampling: SamplingSettings,
    target: TargetPoses,
    *,
    size: tuple[int, int],
    condition: str | None,
) -> tuple[Frames | None, ...]:
    """Condition images (M, H, W, 3) of target poses for each ControlNet beside the pose one; None: it rests.

    Args:
        target: poses, and the frames that they were taken from, if they were.
        size: (H, W) of the subject's frames.
        condition: images that are given, one for each pose: a video or a folder.

    Raises:
        UserError: there are no frames to draw them from, or what is given does not fit.
    """
    scales, found = scales_of(model, sampling), []
    followed = any(net.condition == "images" and scale for net, scale in zip(model.controlnets, scales, strict=True))
    if condition is not None and not followed:
        raise UserError(
            f"condition={condition} goes with a method that learns no one, or with model.controlnets of "
            "condition=images, of which the run has none, or lets it rest: leave it out"
        )
    for number, (net, scale) in enumerate(zip(model.controlnets, scales, strict=True)):
        which = f"model.controlnets[{number}], {net.path}, "
        rest = f"or let it rest: sampling.controlnet_scales={[0 if n == number else s for n, s in enumerate(scales)]}"
        if not scale:
            found.append(None)
        elif net.condition == "images":
            if condition is None:
                raise UserError(
                    f"{which}follows images that are given: give condition= a video or a folder with one for each of "
                    f"the {counted(len(target.poses), 'pose')}, {rest}"
                )
            found.append(_given(condition, count=len(target.poses), size=size, clip=target.driver))
        elif target.beside is None:
            raise UserError(
                f"{which}follows {net.condition} of frames, and poses= has poses alone: give the video that they come "
                f"from, {rest}"
            )
        else:
            frames = target.beside.frames
            # The contact sheet shows these again.
            found.append(DrawnImages(net, frames, size, kept=evenly_spaced(len(frames), SHEET_COLUMNS)))
    return tuple(found)


def images_sha256(images: Frames) -> str:
    """What tells condition images from others: their content or, where they are drawn, what they are drawn from."""
    return images.sha256() if isinstance(images, DrawnImages) else frames_sha256(images)


def condition_rows(model: ModelSettings, conditions: Sequence[Frames | None]) -> list[Row]:
    """Condition images of target poses as rows of a sheet, without those of ControlNets that rest."""
    pairs = zip(model.controlnets, conditions, strict=True)
    return [Row(net.condition, images) for net, images in pairs if images is not None]


def _given(path: str, *, count: int, size: tuple[int, int], clip: Subject | None) -> np.ndarray:
    """Images (F, H, W, 3) that a user gives for the frames of a clip.

    They have the size of the subject's frames, or of the video that the clip was cut out of and are cut likewise.
    """
    images = read_video(path).frames
    if len(images) != count:
        raise UserError(
            f"{path} has {counted(len(images), 'condition image')} for {counted(count, 'frame')}: give one for each "
            "frame"
        )
    height, width = images.shape[1:3]
    if (height, width) == size:
        return images
    known = {} if clip is None or clip.size != size else clip.provenance
    full, box = known.get("frame_size"), known.get("crop_box")
    if isinstance(full, Mapping) and isinstance(box, Mapping) and full == {"width": width, "height": height}:
        cut = CropBox(**box)
        # A subject that was shrunk to another shape lost some of what had been cut.
        if cut.width * size[0] == cut.height * size[1]:
            return collected((crop_frame(image, cut, size) for image in images), count, size)
    expected = f"{size[1]}x{size[0]} as the subject's frames"
    expected += f", or {full['width']}x{full['height']} as its video's" if isinstance(full, Mapping) else ""
    raise UserError(f"{path} has condition images of {width}x{height} pixels: expected {expected}")
