"""A run of ours as a clip to be scored: which of its files are what."""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from eval.scoring.clips import ClipPaths
from eval.scoring.protocol import Protocol
from src.common.counting import counted
from src.common.errors import UserError
from src.common.typed import plain
from src.media.sources import VIDEO_SUFFIXES
from src.models.settings import stand_in
from src.runs.generated import FRAMES, POSES
from src.runs.run_folder import CONFIG, HELD_OUT, SUMMARY, TRAINING, RunFolder
from src.runs.settings import LearningSettings

# What of a run scores are of and say of it, as its summary has checksums of it.
SCORED = (CONFIG, FRAMES, HELD_OUT, TRAINING)


def clip_of_run(run: Path, protocol: Protocol, *, name: str | None = None) -> ClipPaths:
    """The generated frames, the held-out true ones with their poses, and the protocol's reference image.

    Args:
        run: folder of the fine-tune.
        name: of the clip; None: the subject's, so that runs of one person pair in a report.

    Raises:
        UserError: there are none in it, it is not finished, or they are not those that it wrote.
    """
    if not (run / FRAMES).is_dir() or not (run / HELD_OUT / FRAMES).is_dir():
        raise UserError(f"run={run} holds no generated held-out poses: give a run folder of src.train")
    # First, since they refuse a run with links, by which others' files would be scored.
    subject = RunFolder(run).settings().subject
    # Frames without a summary are of other settings than those beside them, or are being written.
    match summary := RunFolder(run).summary() or {}:
        case {"sampling": {"reference_frame": int(index)}}:
            pass
        case _:
            raise UserError(f"run={run} is not finished ({SUMMARY} says of no video): give its src.train command again")
    if changed := RunFolder(run).changed(summary, SCORED):
        raise UserError(
            f"run={run}: {', '.join(changed)} missing or changed since it was written (by the sums in {SUMMARY}): give "
            f"its src.train command again, which makes it anew, or score what is there as generated={run / FRAMES} "
            f"real={run / HELD_OUT / FRAMES}"
        )
    if protocol.reference_frame != "selected":
        index = 0
    return ClipPaths(
        name=subject_name(subject) if name is None else name,
        generated=run / FRAMES,
        real=run / HELD_OUT / FRAMES,
        reference=run / TRAINING / FRAMES / f"{index:05d}.png",
        poses=run / HELD_OUT / POSES,
    )


def subject_name(subject: str) -> str:
    """What a person is called whom a run calls `subject`: by name, or like the video or folder.

    >>> subject_name("people_001"), subject_name("clips/anna.v2.mp4"), subject_name("clips/ben.v2/")
    ('people_001', 'anna.v2', 'ben.v2')
    """
    path = Path(subject)
    return (path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name) or path.resolve().name


def said_by(run: Path) -> dict[str, Any]:
    """What a run says of itself, as keys of a result: benchmark, method, training frames, model, settings, `setup`."""
    settings, summary = RunFolder(run).settings(), RunFolder(run).summary() or {}
    frames = summary.get("training_frames")
    return {
        "benchmark": benchmark_of_subjects([settings.subject]),
        "method": settings.method.name,
        "num_frames": len(frames) if isinstance(frames, list) else settings.data.num_frames,
        "model": settings.model.name,
        **made_by(run),
    }


def benchmark_of_subjects(subjects: Sequence[str]) -> str | None:
    """The benchmark whose subjects are called so, or None.

    >>> benchmark_of_subjects(["ted_001", "ted_002"]), benchmark_of_subjects(["ted_001", "me"])
    ('ted', None)
    """
    names = {match[1] if (match := re.fullmatch(r"([a-z]+)_\d+", name)) else None for name in subjects}
    return names.pop() if len(names) == 1 else None


def made_by(run: Path) -> dict[str, Any]:
    """The `settings` of a result, and its `setup`: why no published number is of a run like this one, as these say."""
    settings = RunFolder(run).settings()
    model, values = settings.model, plain(settings)
    beside = f"{counted(len(model.controlnets), 'ControlNet')} beside the pose one" if model.controlnets else None
    return {
        "settings": {field.name: values[field.name] for field in fields(LearningSettings)},
        "setup": {"stand_in": stand_in(model) or beside},
    }
