"""Export to another system and import from it: what stands where our methods fine-tune and sample."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.benchmark.external.base import HELD_OUT, TRAINING, System, Task, check_frames, is_image
from eval.benchmark.settings import BenchmarkSettings
from eval.benchmark.subject_run import SubjectRun, no_extractor
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.digests import digest, fingerprint
from src.common.errors import DamagedFile, UserError
from src.common.files import read_record, write_json
from src.common.progress import track
from src.common.reading import read_json
from src.data.manifest import PreparedDataset
from src.data.prepare import content_sha256
from src.data.resolve import resolve_subject
from src.data.split import split_frames
from src.media.video import VideoReader, write_frames, write_video
from src.pose.formats import save_poses
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

COMMANDS, RECORD, POSES, IMPORTED, SOURCE = "COMMANDS.md", "export.json", "poses.npz", "imported", "source.json"


def exchange(
    prepared: PreparedDataset, system: System, settings: BenchmarkSettings
) -> tuple[list[SubjectRun], dict[str, str], dict[str, str]]:
    """Export every prepared subject that was not exported before, and import what the system has made by now.

    Returns:
        The subjects whose frames are there, and by name why others failed and what others wait for.

    Raises:
        UserError: not even one subject could be exported.
    """
    root = Path(settings.external) / system.name / settings.benchmark.name
    size = settings.data.resolution if settings.protocol.resolution is None else None
    runs, waiting = [], {}
    failed = {name: f"prepare: {reason}" for name, reason in prepared.failed.items()}
    exported, complete = [], []
    for name, known in track(prepared.subjects.items(), f"Exchange with {system.name}"):
        try:
            task = export_subject(name, known, system, settings, root)
            exported.append(task)
            if (lacking := system.export(task)) is not None:
                waiting[name] = lacking
                log.warning("%s waits: %s", name, lacking)
                continue
            complete.append(task)
            run = import_subject(task, system, size=size)
        except UserError as error:
            log.error("%s failed: %s", name, error)
            failed[name] = f"{system.name}: {error}"
            continue
        if run is None:
            waiting[name] = f"{system.name} has not run: see {root / COMMANDS}"
            log.warning("%s waits: %s", name, waiting[name])
        else:
            runs.append(run)
    if not exported:
        name, reason = next(iter(failed.items()))
        raise UserError(f"no subject of {settings.benchmark.name} could be exported; {name}: {reason}")
    system.finish_export(root, complete)
    with atomic_path(root / COMMANDS) as temporary:
        temporary.write_text(system.commands(root.resolve(), exported), "utf-8")
    back = f"of {counted(len(prepared.subjects), 'subject')} {counted(len(runs), 'is', 'are')} back"
    told = f"{back}, {counted(len(waiting), 'waits', 'wait')}"
    log.info("%s on %s: %s; what to run: %s", system.name, settings.benchmark.name, told, root / COMMANDS)
    return runs, failed, waiting


def export_subject(
    name: str, known: Mapping[str, Any], system: System, settings: BenchmarkSettings, root: Path
) -> Task:
    """The frames and poses of our own methods' split, the frames written once as PNGs.

    Raises:
        UserError: too short a clip, or an export of other frames is in the way.
    """
    subject = resolve_subject(name, clip=settings.data.square_clip, root=settings.data.root, extractor=no_extractor)
    num_train, num_test = settings.num_frames, settings.data.num_test_frames
    split = split_frames(len(subject), num_train=num_train, num_test=num_test, unseen=subject.poses.unseen)
    seen, test = list(split.train)[: system.num_frames], list(split.test)
    task = Task(
        name=name,
        folder=root / name,
        size=subject.resolution,
        training_poses=subject.poses[seen],
        test_poses=subject.poses[test],
        prompt=subject.prompt,
        fps=float(subject.fps),
    )
    record = {
        "subject": {key: value for key, value in known.items() if key == "source" or key.endswith("sha256")},
        "training_frames": seen,
        "test_frames": test,
        "resolution": task.size,
        "poses": digest([_plain(task.training_poses), _plain(task.test_poses)]),
        "prompt": subject.prompt,
    }
    path = task.folder / RECORD
    # What a user has put beside the frames would go with them: only where nothing was exported yet.
    before = read_json(path) if path.is_file() else None
    if before is not None and not isinstance(before, dict):
        raise DamagedFile(f"{path} is no record of an export: move {task.folder} away")
    if before is None:
        write_frames(task.folder / TRAINING, subject.frames[seen])
        write_frames(task.folder / HELD_OUT, subject.frames[test])
        save_poses(task.folder / POSES, task.test_poses, fps=task.fps, size=(task.size, task.size))
        write_json(path, record)
    elif changed := [key for key, value in before.items() if record.get(key) != value]:
        raise UserError(
            f"{task.folder} was exported with other settings ({', '.join(changed)}): move it away, or export elsewhere "
            "with external=<folder>"
        )
    return task


def import_subject(task: Task, system: System, *, size: int | None) -> SubjectRun | None:
    """What scoring needs, or None where the system has not run.

    Raises:
        UserError: other than M frames, or of another size than `size`.
    """
    sources = system.find_output(task)
    if sources is None:
        return None
    check_frames(sources, task, what="generated frames", size=size)
    generated = _copy(sources, task)
    content = content_sha256(generated)
    return SubjectRun(
        name=task.name,
        generated=generated,
        poses=task.folder / POSES,
        real=task.folder / HELD_OUT,
        training=task.folder / TRAINING,
        reference=0,
        key=digest([read_json(task.folder / RECORD), system.name, content]),
        fine_tune={},
        sampling={"imported_sha256": content},
    )


def _copy(sources: Sequence[Path], task: Task) -> Path:
    """The system's files as they are, under our names; with generated.mp4 to look at, as in our own runs."""
    folder, known = task.folder / IMPORTED, fingerprint(sources)
    name = "frames" if is_image(sources[0]) else f"generated{sources[0].suffix}"
    if (read_record(folder / SOURCE) or {}).get("files") != known:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            if is_image(sources[0]):
                (temporary / name).mkdir()
                for index, path in enumerate(sources):
                    shutil.copyfile(path, temporary / name / f"{index:05d}{path.suffix.lower()}")
                write_video(temporary / "generated.mp4", VideoReader(temporary / name), task.fps)
            else:
                shutil.copyfile(sources[0], temporary / name)
            write_json(temporary / SOURCE, {"files": known})
    return folder / name


def _plain(poses: PoseSequence) -> list[Any]:
    return [poses.xy.tolist(), poses.confidence.tolist(), poses.mask.tolist()]
