"""`python -m src.repair video=… segments=[[40,63]]`: regenerate the bad part of a clip (Sec. 5.3, video inpainting).

Dimensions: L frames of a segment and its good neighbours, S side of the square frames in pixels; RGB uint8.
"""

import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from src.app.entry import entry
from src.common.errors import UserError
from src.common.files import write_json
from src.common.typed import check_choice, typed
from src.data.crop import CropBox
from src.data.split import split_frames
from src.data.subject import Subject
from src.data.subject_split import find_subject
from src.inpainting.blending import background, blend_in_time, set_in
from src.media.contact_sheet import contact_sheet
from src.media.reencode import MP4_SUFFIXES, check_rewritable, count_frames, replace_frames
from src.media.video import VideoReader, read_video, write_frames, write_video
from src.models.settings import ModelSettings, build_models, caution
from src.pose.keypoints import PoseSequence
from src.pose.smooth import fill_gaps
from src.pose.tracking import frame_ranges
from src.runs.provenance import environment
from src.runs.run_folder import CONFIG, SUMMARY, TrainingClip, only_writer
from src.sampling.generate import film
from src.sampling.sampler import SamplingJob
from src.sampling.settings import MethodSettings, SamplingSettings
from src.training.fine_tune import check_fine_tune, fine_tune

log = logging.getLogger(__name__)

POSES = ("own", "interpolate")


@dataclass(frozen=True)
class Segment:
    """Bad frames `first` to `last`, both included, of a clip of `length` frames."""

    first: int
    last: int
    length: int

    @property
    def before(self) -> int | None:
        """The good frame before, if there is one."""
        return self.first - 1 if self.first > 0 else None

    @property
    def after(self) -> int | None:
        """The good frame after, if there is one."""
        return self.last + 1 if self.last + 1 < self.length else None

    @property
    def bad(self) -> list[int]:
        return list(range(self.first, self.last + 1))

    @property
    def filmed(self) -> list[int]:
        """The bad frames and their good neighbours, which show what the borders have to bridge."""
        return [f for f in (self.before, *self.bad, self.after) if f is not None]


def repair(cfg: DictConfig) -> dict:
    """Fine-tune on the good frames of a clip, film the bad ones anew, and put the clip together again.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad settings or input.
    """
    started = time.perf_counter()
    method = typed(MethodSettings, cfg.method, "method")
    sampling = typed(SamplingSettings, cfg.sampling, "sampling")
    settings = typed(ModelSettings, cfg.model, "model")
    check_choice("segment_poses", cfg.segment_poses, POSES)
    reader = _open(cfg)
    segments = parse_segments(OmegaConf.to_container(cfg)["segments"], len(reader))
    folder = Path("outputs/repair") / reader.path.stem if cfg.run_dir is None else Path(cfg.run_dir)
    cfg.run_dir = str(folder)
    _check_same_repair(folder, cfg)

    subject = find_subject(cfg, str(cfg.video))
    bad = [f for segment in segments for f in segment.bad]
    good = np.setdiff1d(np.arange(len(subject)), bad)
    chosen = good[list(split_frames(len(good), num_train=cfg.data.num_frames, num_test=0).train)].tolist()
    poses = [segment_poses(subject.poses, segment, cfg.segment_poses) for segment in segments]
    log.info("repairing frames %s; training on frames %s", frame_ranges(bad), frame_ranges(chosen))

    clip = TrainingClip(subject.frames[chosen], subject.poses[chosen], subject.prompt, float(subject.fps))
    if warning := caution(settings, rendered=subject.rendered):
        log.warning("%s", warning)
    image_model, backbone = build_models(settings)
    image_model.check_resolution(cfg.data.resolution)
    summary = {"video": str(cfg.video), "segments": [[s.first, s.last] for s in segments], "training_frames": chosen}
    with only_writer(folder):
        summary["training"] = fine_tune(image_model, backbone, clip, cfg, folder, [])
        results = {"method": method, "sampling": sampling, "trainer": cfg.trainer, "fps": clip.fps}
        mended, costs = {}, []
        for segment, target in zip(segments, poses, strict=True):
            part = folder / "segments" / f"{segment.first:05d}-{segment.last:05d}"
            job = SamplingJob(clip.frames, clip.poses, target, clip.prompt, clip.prompt, cfg.seed)
            beside = ("original", subject.frames[segment.filmed])
            costs.append(film(image_model, backbone, job, **results, folder=part, beside=beside))
            generated = read_video(part / "frames").frames
            mended |= _mend(reader, subject, segment, generated, cfg.blend_frames)
        summary |= {"sampling": costs, "output": str(_write(reader, mended, folder, cfg.crf))}
        summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment()}
        write_json(folder / SUMMARY, summary)
    log.info("repaired: %s; its frames: %s", summary["output"], folder / "frames")
    return summary


def parse_segments(value: Any, length: int) -> list[Segment]:
    """Check `segments` against a clip of `length` frames.

    Raises:
        UserError: not pairs of frame numbers in rising order, outside the clip, touching each other, or all of it.

    >>> [segment.bad for segment in parse_segments([[1, 2], [5, 5]], 8)]
    [[1, 2], [5]]
    """
    try:
        pairs = sorted(TypeAdapter(list[tuple[int, int]]).validate_python(value))
    except ValidationError:
        raise UserError(f"segments={value} must be pairs of first and last bad frame, such as [[40,63]]") from None
    if not pairs:
        raise UserError("segments=[] names no bad frame: give pairs of first and last bad frame, such as [[40,63]]")
    for first, last in pairs:
        if not 0 <= first <= last < length:
            raise UserError(f"the segment [{first},{last}] is not in the clip: its frames are 0 to {length - 1}")
    for (a, b), (c, d) in itertools.pairwise(pairs):
        if c <= b + 1:
            raise UserError(f"the segments [{a},{b}] and [{c},{d}] touch: join them into [{a},{max(b, d)}]")
    if pairs == [(0, length - 1)]:
        raise UserError("the segments cover the whole clip: no good frame is left to learn the person from")
    return [Segment(first, last, length) for first, last in pairs]


def segment_poses(poses: PoseSequence, segment: Segment, source: str) -> PoseSequence:
    """Poses of `segment.filmed`.

    Args:
        poses: of the whole clip.
        source: `own`: as extracted; `interpolate`: keypoints move in straight lines between the good frames beside
            the segment, or stay where only one side has any.

    Raises:
        UserError: `own`, and frames of the segment in which no person was found.
    """
    if source == "own":
        unseen = [f for f in segment.bad if not poses.mask[f].any()]
        if unseen:
            raise UserError(f"no person is seen in frames {frame_ranges(unseen)}: set segment_poses=interpolate")
        return poses[segment.filmed]
    ends = [f for f in (segment.before, segment.after) if f is not None]
    if len(ends) == 1:
        return poses[ends * len(segment.filmed)]
    mask = poses.mask.copy()
    mask[segment.bad] = False
    filmed = PoseSequence(poses.xy, poses.confidence, mask)[segment.filmed]
    return fill_gaps(filmed, max_gap=len(segment.bad))


def _open(cfg: DictConfig) -> VideoReader:
    for key, default in (("fps", None), ("start", 0), ("max_frames", None)):
        if cfg.data[key] != default:
            raise UserError(
                f"data.{key}={cfg.data[key]}: a repair keeps the whole clip at its own rate, leave it unset"
            )
    if cfg.blend_frames < 0 or not 0 <= cfg.crf <= 51:
        raise UserError(f"blend_frames={cfg.blend_frames} must not be negative, and crf={cfg.crf} be in 0 to 51")
    reader = VideoReader(str(cfg.video))
    if not reader.path.is_dir():
        check_rewritable(reader.path)
        if (count := count_frames(reader.path)) != len(reader):
            raise UserError(
                f"{reader.path} shows {count} frames at changing intervals, read as {len(reader)}: convert it to a "
                "constant frame rate first"
            )
    return reader


def _check_same_repair(folder: Path, cfg: DictConfig) -> None:
    """What `check_fine_tune` asks, and the same segments: they decide what was trained on."""
    check_fine_tune(folder, cfg)
    before = OmegaConf.load(folder / CONFIG).get("segments") if (folder / CONFIG).is_file() else cfg.segments
    if before != cfg.segments:
        raise UserError(
            f"run_dir={folder} holds the repair of other segments, {before}: choose another run_dir for {cfg.segments}"
        )


def _mend(
    reader: VideoReader, subject: Subject, segment: Segment, generated_LSSC: np.ndarray, blend_frames: int
) -> dict[int, np.ndarray]:
    """The repaired frames of a segment, in the video's own size."""
    wanted = {f for f in (segment.before, segment.after) if f is not None}
    full = {f: frame for f, frame in enumerate(reader) if f in wanted}
    at = {f: i for i, f in enumerate(segment.filmed)}
    difference = {f: subject.frames[f].astype(np.float32) - generated_LSSC[at[f]] for f in wanted}
    squares = generated_LSSC[[at[f] for f in segment.bad]]
    before, after = segment.before, segment.after
    squares = blend_in_time(squares, difference.get(before), difference.get(after), blend_frames=blend_frames)
    box = CropBox(**subject.provenance["crop_box"])
    mended = {}
    for i, f in enumerate(segment.bad):
        behind = background(full.get(before), full.get(after), (i + 1) / (len(segment.bad) + 1))
        mended[f] = set_in(behind, squares[i], box)
    return mended


def _write(reader: VideoReader, mended: dict[int, np.ndarray], folder: Path, crf: int) -> Path:
    """Write the whole clip as lossless frames, as video, and the repaired frames beside the old ones."""

    def frames() -> Iterator[np.ndarray]:
        return (mended.get(f, frame) for f, frame in enumerate(reader))

    write_frames(folder / "frames", frames())
    if reader.path.is_dir():
        output = folder / "repaired.mp4"
        write_video(output, frames(), reader.fps, crf=max(crf, 1))
    else:
        output = folder / f"repaired{'.mp4' if reader.path.suffix.lower() in MP4_SUFFIXES else '.mkv'}"
        replace_frames(reader.path, output, mended, crf=crf)
    old = np.stack([frame for f, frame in enumerate(reader) if f in mended])
    contact_sheet([("original", old), ("repaired", np.stack(list(mended.values())))], folder / "contact_sheet.png")
    return output


@entry("repair")
def main(cfg: DictConfig) -> None:
    """Command line."""
    repair(cfg)


if __name__ == "__main__":
    main()
