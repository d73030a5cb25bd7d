"""A repair from its settings to a folder: learn the person from the good frames, generate the bad ones anew."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.common.counting import named_frames
from src.common.errors import DamagedFile, UserError
from src.common.files import write_json
from src.common.reading import read_json
from src.data.resolve import resolve_video
from src.data.split import split_frames
from src.data.subject import Subject
from src.data.subject_split import training_clip
from src.inpainting.repaired_clip import RepairedFrames, frames_at, write_repaired
from src.inpainting.segments import Segment, parse_segments, segment_poses
from src.inpainting.settings import RepairSettings
from src.media.contact_sheet import Row
from src.media.reencode import check_rewritable
from src.media.sources import ffmpeg_of
from src.media.video import VideoReader
from src.models.offload import check_offload
from src.pose.keypoints import PoseSequence
from src.runs.generated import Beside
from src.runs.learn import begin, check_cache, learn
from src.runs.person import Person, untrained
from src.runs.provenance import environment, git_revision
from src.runs.run_folder import SEGMENTS, SEGMENTS_RECORD, RunFolder
from src.sampling.jobs import GeneratedClip

log = logging.getLogger(__name__)


def repair(settings: RepairSettings) -> dict[str, Any]:
    """Fine-tune on the good frames of a clip, generate the bad ones anew, and put the clip together again.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad settings or input; nothing is written then.
    """
    started = time.perf_counter()
    reader = _open(settings.video)
    segments = parse_segments(settings.segments, len(reader))
    run = RunFolder(Path("outputs/repair") / reader.path.stem if settings.run_dir is None else settings.run_dir)
    pairs = [[segment.first, segment.last] for segment in segments]
    _check_before(settings, run, pairs)
    # The frames that are pasted into are those of the path: a prepared subject of that name may be another clip.
    subject = resolve_video(
        reader.path,
        clip=settings.data.clip,
        root=settings.data.root,
        extractor=settings.pose.build,
        prompt=settings.prompt,
    )
    poses = [segment_poses(subject.poses, segment, settings.segment_poses) for segment in segments]
    chosen = _good_frames(subject, segments, settings.data.num_frames)
    clip = training_clip(subject, chosen)
    person = Person(settings, clip, run, untrained(settings, clip, rendered=subject.rendered))
    summary: dict[str, Any] = {"video": settings.video, "segments": pairs, "training_frames": chosen}
    with run.only_writer():
        begin(run, settings.run, clip)
        write_json(run.path / SEGMENTS_RECORD, pairs)
        summary["training"] = learn(person)
        full = frames_at(reader, {f for segment in segments for f in segment.beside})
        repaired, costs = RepairedFrames(), []
        for segment, target in zip(segments, poses, strict=True):
            generated = _film(person, subject, segment, target)
            costs.append(generated.cost)
            repaired.add(full, subject, segment, generated.frames, settings.blend_frames)
        summary |= {"sampling": costs, "output": str(write_repaired(reader, repaired, run.path, settings.crf))}
        summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment()}
        summary = run.save_summary(summary | {"git": git_revision()})
    log.info("repaired: %s; its frames: %s", summary["output"], run.path / "frames")
    return summary


def _check_before(settings: RepairSettings, run: RunFolder, pairs: list[list[int]]) -> None:
    """Refuse what needs no look at the clip, which may take minutes to prepare."""
    run.check_same_fine_tune(settings.run)
    run.check_place()
    check_offload(settings.model.offload, settings.trainer.check_available())
    _check_segments(run.path, pairs)
    check_cache(settings.fine_tune_cache)


def _good_frames(subject: Subject, segments: Sequence[Segment], num_frames: int) -> list[int]:
    """Numbers of the good frames that the person is learnt from."""
    bad = [f for segment in segments for f in segment.bad]
    split = split_frames(len(subject), num_train=num_frames, num_test=0, unseen=subject.poses.unseen, bad=bad)
    chosen = list(split.train)
    log.info("repairing %s; training on %s", named_frames(bad), named_frames(chosen))
    return chosen


def _film(person: Person, subject: Subject, segment: Segment, poses: PoseSequence) -> GeneratedClip:
    """A segment and its good neighbours generated anew, and written beside what was there."""
    generated = person.generate(person.job(poses))
    part = RunFolder(person.run.path / SEGMENTS / f"{segment.first:05d}-{segment.last:05d}")
    part.save_generated(generated, Beside(frames=Row("original", subject.frames[segment.generated])))
    return generated


def _check_segments(folder: Path, pairs: list[list[int]]) -> None:
    """Refuse to go on with a repair of other segments, whose frames would be mixed with these."""
    if not (folder / SEGMENTS_RECORD).is_file():
        return
    try:
        before = read_json(folder / SEGMENTS_RECORD)
    except DamagedFile as error:
        raise DamagedFile(f"{error}: it says which segments were repaired there; choose another run_dir") from error
    if before != pairs:
        raise UserError(
            f"run_dir={folder} holds the repair of other segments, {before}: choose another run_dir for {pairs}"
        )


def _open(video: str) -> VideoReader:
    reader = VideoReader(video)
    if not reader.path.is_dir():
        check_rewritable(reader.path)
        if (reader.repeats != 1).any():
            dropped, repeated = (reader.repeats == 0).sum(), (reader.repeats > 1).sum()
            raise UserError(
                f"{reader.path} shows its {len(reader.repeats)} frames at changing intervals, so that frame numbers "
                f"would go wrong ({dropped} are dropped and {repeated} repeated): convert it first, for example with "
                f"{ffmpeg_of(reader.path)} -vf fps={float(reader.fps):.4g} -c:a copy steady.mp4"
            )
    return reader
