"""A repair from its settings to a folder: learn the person from the good frames, generate the bad ones anew."""

import logging
import time
from pathlib import Path
from typing import Any

from src.common.counting import named_frames
from src.common.errors import DamagedFile, UserError
from src.common.files import write_json
from src.common.reading import read_json
from src.data.resolve import resolve_video
from src.data.split import split_frames
from src.data.subject_split import training_clip
from src.inpainting.repaired_clip import RepairedFrames, frames_at, write_repaired
from src.inpainting.segments import parse_segments, segment_poses
from src.inpainting.settings import RepairSettings
from src.media.contact_sheet import Row
from src.media.reencode import check_rewritable
from src.media.sources import ffmpeg_of
from src.media.video import VideoReader
from src.models.build import build_models
from src.models.offload import check_offload
from src.models.settings import model_warning
from src.runs.generated import Beside
from src.runs.learn import begin, check_cache, learn
from src.runs.provenance import environment, git_revision
from src.runs.run_folder import SEGMENTS, SEGMENTS_RECORD, RunFolder
from src.sampling.generate import generate
from src.sampling.jobs import GenerationJob

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
    pairs = [[segment.first, segment.last] for segment in segments]
    run = RunFolder(Path("outputs/repair") / reader.path.stem if settings.run_dir is None else settings.run_dir)
    run.check_same_fine_tune(settings.run)
    run.check_place()
    check_offload(settings.model.offload, settings.trainer.check_available())
    _check_segments(run.path, pairs)
    check_cache(settings.fine_tune_cache)
    # The frames that are pasted into are those of the path: a prepared subject of that name may be another clip.
    subject = resolve_video(
        reader.path,
        settings=settings.data.clip,
        root=settings.data.root,
        extractor=settings.pose.build,
        prompt=settings.prompt,
    )
    bad = [f for segment in segments for f in segment.bad]
    num_train, unseen = settings.data.num_frames, subject.poses.unseen
    chosen = list(split_frames(len(subject), num_train=num_train, num_test=0, unseen=unseen, bad=bad).train)
    poses = [segment_poses(subject.poses, segment, settings.segment_poses) for segment in segments]
    log.info("repairing %s; training on %s", named_frames(bad), named_frames(chosen))

    clip = training_clip(subject, chosen)
    if warning := model_warning(settings.model, rendered=subject.rendered):
        log.warning("%s", warning)
    image_model, backbone = build_models(settings.model)
    image_model.check_resolution(*sorted(subject.size))
    summary: dict[str, Any] = {"video": settings.video, "segments": pairs, "training_frames": chosen}
    with run.only_writer():
        begin(run, settings.run, clip)
        write_json(run.path / SEGMENTS_RECORD, pairs)
        summary["training"] = learn(run, settings, clip, image_model, backbone)
        full = frames_at(reader, {f for segment in segments for f in segment.beside})
        repaired, costs = RepairedFrames(), []
        for segment, target in zip(segments, poses, strict=True):
            job = GenerationJob(
                clip=clip,
                target_poses=target,
                target_prompt=clip.prompt,
                method=settings.method,
                sampling=settings.sampling,
                seed=settings.seed,
                fps=clip.fps,
            )
            generated = generate(job, image_model, backbone, settings.trainer)
            part = RunFolder(run.path / SEGMENTS / f"{segment.first:05d}-{segment.last:05d}")
            part.save_generated(generated, Beside(frames=Row("original", subject.frames[segment.generated])))
            costs.append(generated.cost)
            repaired.add(full, subject, segment, generated.frames, settings.blend_frames)
        summary |= {"sampling": costs, "output": str(write_repaired(reader, repaired, run.path, settings.crf))}
        summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment()}
        summary = run.save_summary(summary | {"git": git_revision()})
    log.info("repaired: %s; its frames: %s", summary["output"], run.path / "frames")
    return summary


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
