"""Target poses from whatever `poses=` names, made to fit the subject: what `src.sample` and `src.poses` share."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from src.common.arrays import Frames, MadeFrames, height_width
from src.common.counting import named_frames
from src.common.errors import UserError, in_one_line
from src.common.paths import PACKAGE_ROOT
from src.common.typed import FileName, check_range
from src.data.crop import crop_box, crop_frame, crop_poses, frame_size, pad_poses
from src.data.resolve import as_it_is, followed, known_subject, resolve_subject, without_effect
from src.data.settings import DataSettings
from src.data.subject import ClipSettings, Subject
from src.media.contact_sheet import Row
from src.media.pictures import images_in
from src.media.sound import Soundtrack, soundtrack
from src.pose.distance import distance_to_training
from src.pose.extractors.settings import ExtractorSettings
from src.pose.formats import PoseFile
from src.pose.keypoints import PoseSequence
from src.pose.openpose_json import MAX_CANVAS
from src.pose.retarget import RetargetMode, extent, in_one_unit, retarget
from src.pose.script import SUFFIXES, load_script, perform_script
from src.pose.smooth import SmoothSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PoseScriptSettings:
    """`frame`: training frame that a pose script starts from; null: the script's own, or chosen."""

    frame: int | None = None

    def __post_init__(self) -> None:
        check_range("pose_script.frame", self.frame, least=0)


@dataclass(frozen=True, kw_only=True)
class PoseSourceSettings:
    """Where target poses come from.

    Attributes:
        poses: video, subject, keypoints (.npz, OpenPose .json or a folder of them), or pose script.
        poses_size: (height, width) of the picture that keypoints are of, where their file does not say.
        retarget: onto the subject's own proportions; null: `bones` if the driver is someone else, else `none`.
        smooth: of the poses.
        pose_script: see `PoseScriptSettings`.
        data, pose: of a video; `data.start` and `data.max_frames` of any source, counted in its own frames. What
            else of them is given and does nothing for a source is said.
    """

    poses: FileName
    poses_size: tuple[int, int] | None = None
    retarget: RetargetMode | None = None
    smooth: SmoothSettings = field(default_factory=SmoothSettings)
    pose_script: PoseScriptSettings = field(default_factory=PoseScriptSettings)
    data: DataSettings = field(default_factory=DataSettings)
    pose: ExtractorSettings

    def __post_init__(self) -> None:
        for side in self.poses_size or ():
            check_range("poses_size", side, least=1, most=MAX_CANVAS)


@dataclass(frozen=True, eq=False)
class TargetPoses:
    """What is to be generated.

    Attributes:
        poses: M poses in units of the subject's frames.
        size: (height, width) of these; None: not known.
        fps: frames a second.
        beside: (M, H, W, 3) uint8 RGB frames that the poses were taken from, where there are any.
        driver: whose frames these are; None also where they had to be fitted into another shape.
        sound: of the video that the poses were taken from, where it has any.
    """

    poses: PoseSequence
    fps: float
    beside: Row | None
    driver: Subject | None = None
    sound: Soundtrack | None = None
    size: tuple[int, int] | None = None


def target_poses(
    settings: PoseSourceSettings,
    *,
    size: tuple[int, int] | None,
    fps: float,
    training: PoseSequence | None,
    clip: str | None,
) -> TargetPoses:
    """Read the poses, smooth them as `smooth` says, and retarget them as `retarget` says; warn of far ones.

    Args:
        size: (height, width) of the subject's frames in pixels; None: what `settings.data` says of the source.
        fps: where the source does not say.
        training: poses of the subject's N training frames, None if no subject is at hand.
        clip: that these come from, see `Subject.source`; None: not known, or none as above.

    Raises:
        UserError: unreadable poses, or settings that do not go together.
    """
    source, is_other = Path(settings.poses), False
    found = _from_file(settings, source, training, fps, size)
    if found is None:
        driver = _driver(settings, size)
        frames, poses = (driver.frames, driver.poses) if size is None else fit_driver(driver, size)
        found = TargetPoses(
            poses,
            float(driver.fps),
            Row("driver", frames),
            driver if frames is driver.frames else None,
            _sound(settings, driver),
            height_width(frames),
        )
        is_other = training is not None and not _same_clip(driver, clip, training)
    else:
        found = replace(found, poses=found.poses[_part(settings, len(found.poses))])
    if not found.poses.mask.any():
        raise UserError(f"poses={source} shows no person in any frame")
    poses = settings.smooth.apply(found.poses, found.fps)
    if training is None:
        if settings.retarget not in (None, "none"):
            raise UserError(
                f"retarget={settings.retarget} needs the subject whose body the poses are to fit: give subject="
            )
        _check_shown(poses, found.poses, source)
        return replace(found, poses=poses)
    mode = settings.retarget or ("bones" if is_other else "none")
    whose = "another person" if is_other else "not known to be another"
    log.info("retarget=%s (%s)", mode, "as given" if settings.retarget else f"the poses are {whose}'s")
    # Lengths and angles mean something only where both axes have one unit.
    fitted = retarget(in_one_unit(poses, size), in_one_unit(training, size), mode, frame_size=extent(size))
    poses = in_one_unit(fitted, size, back=True)
    _check_shown(poses, found.poses, source)
    distance = distance_to_training(poses, training)
    log.log(logging.WARNING if distance.far else logging.INFO, "%s", distance.describe())
    return replace(found, poses=poses)


def _check_shown(poses: PoseSequence, of: PoseSequence, source: Path) -> None:
    """Refuse poses, read as `of`, that are out of the frame throughout; warn of frames that whoever was there left."""
    if not poses.shown.any():
        raise UserError(f"poses={source} have the person wholly outside the frame throughout: move them into it")
    if out := np.flatnonzero(of.mask.any(1) & ~poses.shown).tolist():
        log.warning("poses=%s: the person is wholly outside the frame in %s", source, named_frames(out))


def _driver(settings: PoseSourceSettings, size: tuple[int, int] | None) -> Subject:
    """The clip that `poses` names: of a video what `data` says, of a subject that is known already as many frames."""
    data = settings.data
    clip = data.clip if size is None else _shaped(data.clip, size)
    driver = known_subject(settings.poses, clip=clip, root=data.root, size=size, smaller=size is None)
    if driver is None:
        follows = {"fps", "crop", "person"} | (set() if size else {"aspect"})
        _say_without_effect(settings, size, follows, "which are fitted into the subject's frames")
        return resolve_subject(settings.poses, clip=clip, root=data.root, extractor=settings.pose.build)
    known = "whose poses are known already"
    _say_without_effect(settings, size, followed(data, driver), known, as_it_is(driver))
    part = _part(settings, len(driver))
    return replace(driver, frames=driver.frames[part], poses=driver.poses[part])


def _say_without_effect(
    settings: PoseSourceSettings, size: tuple[int, int] | None, follows: Collection[str], why: str, made: str = ""
) -> None:
    """Warn of what was given of `data` and `pose` and does nothing for poses of this kind.

    Args:
        size: of the subject's frames; None: the poses have their own shape.
        follows: of fps, crop, aspect and person what does something. Of start and max_frames any source has the part.
        made: why the clip is as it is; nothing of the resolution, which no other way of making it would follow.
    """
    data, others, follows = settings.data, [], {"start", "max_frames", *follows}
    if "person" not in follows and settings.pose.person != "largest":
        others.append(f"pose.person={settings.pose.person}")
    on = f"poses={settings.poses}, {why}"
    if made and without_effect(data, follows, on, others):
        on += f": {made}"
    if size is not None and data.resolution not in (DataSettings().resolution, min(size)):
        others.append(f"data.resolution={data.resolution}")
    if warning := without_effect(data, follows, on, others):
        log.warning("%s", warning)


def _part(settings: PoseSourceSettings, count: int) -> slice:
    """Which of the source's poses `data.start` and `data.max_frames` ask for."""
    start, most = settings.data.start, settings.data.max_frames
    if start >= count:
        raise UserError(f"data.start={start}: the last of poses={settings.poses} is {count - 1}, counted from 0")
    return slice(start, None if most is None else start + most)


def _sound(settings: PoseSourceSettings, driver: Subject) -> Soundtrack | None:
    """Of a driver that was named by its video file; a prepared subject keeps no sound."""
    video = Path(settings.poses)
    if not video.is_file():
        return None
    return soundtrack(video, start_frame=settings.data.start, num_frames=len(driver), fps=driver.fps)


def _from_file(
    settings: PoseSourceSettings, source: Path, training: PoseSequence | None, fps: float, size: tuple[int, int] | None
) -> TargetPoses | None:
    """Poses of a script or of keypoints; None: the source is neither."""
    keypoints = _holds_keypoints(source)
    if settings.poses_size is not None and not keypoints:
        raise UserError(
            f"poses_size={list(settings.poses_size)} goes with keypoints (.npz, .json or a folder of these), and "
            f"poses={source} is none: leave it out"
        )
    if source.suffix.lower() in SUFFIXES:
        if training is None:
            raise UserError(f"the pose script {source} edits a pose of a subject: give subject=")
        script = load_script(shipped(source))
        _say_without_effect(settings, size, set(), "which edits a pose of the subject")
        start = settings.pose_script.frame
        performed = perform_script(script, in_one_unit(training, size), frame=start, frame_size=extent(size))
        return TargetPoses(in_one_unit(performed, size, back=True), fps, None, size=size)
    if settings.pose_script.frame is not None:
        raise UserError(
            f"pose_script.frame={settings.pose_script.frame} needs a pose script, and poses={source} is none"
        )
    return _keypoints(settings, source, fps, size) if keypoints else None


def _holds_keypoints(source: Path) -> bool:
    """Whether it is a file of keypoints, or a folder of these: one with images is a clip, whatever JSON lies there."""
    if not source.is_dir():
        return source.suffix.lower() in (".npz", ".json")
    with in_one_line(source, "read"):
        holds_json = any(path.suffix.lower() == ".json" for path in source.iterdir())
    return holds_json and not images_in(source)


def _keypoints(settings: PoseSourceSettings, source: Path, fps: float, size: tuple[int, int] | None) -> TargetPoses:
    """Poses of a file, fitted into the subject's frames as a driver is, where the shape of their picture is known."""
    given, file = settings.poses_size, PoseFile(source)
    poses, crowd = file.people(size=given, person=settings.pose.person)
    fps, picture = file.fps() or fps, file.size() or given
    follows = set() if size or not picture else {"aspect"}
    _say_without_effect(settings, size, follows if crowd is None else follows | {"person"}, "which are there already")
    if picture is None:
        return TargetPoses(poses, fps, None, size=size)
    height, width = picture
    if given and given[0] * width != given[1] * height:
        raise UserError(
            f"poses_size={list(given)}: poses={source} says itself that it is of {width}x{height} pixels (width x "
            "height): leave out poses_size"
        )
    data = settings.data
    size = size or frame_size(data.clip.aspect, data.resolution, width=width, height=height)
    fitted = pad_poses(poses, picture=picture, size=size)
    if fitted is not poses:
        log.info("poses of %s: a picture of %dx%d fitted into %dx%d pixels", source, width, height, *size[::-1])
    return TargetPoses(fitted, fps, None, size=size)


def fit_driver(driver: Subject, size: tuple[int, int]) -> tuple[Frames, PoseSequence]:
    """The driver's clip as large as fits into frames of another shape, black bars beside it; as it is where it fits.

    Returns:
        F frames (H, W, 3) uint8 RGB, made when they are looked at, and their poses.
    """
    if driver.size == size:
        return driver.frames, driver.poses
    height, width = driver.size
    box = crop_box(driver.poses, width=width, height=height, mode="pad", size=size)
    log.info("driver %s: frames of %dx%d fitted into %dx%d pixels", driver.name, width, height, *size[::-1])
    frames = MadeFrames(lambda index: crop_frame(driver.frames[index], box, size), len(driver), size)
    return frames, crop_poses(driver.poses, box, width=width, height=height)


def _shaped(clip: ClipSettings, size: tuple[int, int]) -> ClipSettings:
    """A driver is cropped as it would be for the subject, to the subject's shape."""
    aspect = "square" if size[0] == size[1] else f"{size[1]}:{size[0]}"
    return replace(clip, resolution=min(size), aspect=aspect, crop="pad" if clip.crop == "none" else clip.crop)


def shipped(path: Path) -> Path:
    """A script of the package where the working directory has none of that name."""
    return path if path.exists() or not (PACKAGE_ROOT / path).exists() else PACKAGE_ROOT / path


def _same_clip(driver: Subject, clip: str | None, training: PoseSequence) -> bool:
    """Whether the driver is the clip that the training poses come from; where that is not known, whether it has any."""
    if clip is not None:
        return driver.source == clip
    theirs = {xy_K2.tobytes() for xy_K2 in driver.poses.xy}
    return any(xy_K2.tobytes() in theirs for xy_K2 in training.xy)
