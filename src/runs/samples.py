"""What `src.sample` leaves of a person who was learnt, and where: each video has a folder, which its command finds."""

import os
import re
from pathlib import Path
from typing import Any

from src.common.errors import UserError
from src.common.files import read_record
from src.common.typed import plain
from src.common.writers import free_folder
from src.runs.generated import Beside
from src.runs.run_folder import ADAPTER, CONFIG, FINE_TUNE_RECORD, HELD_OUT, SEGMENTS, UNFINISHED, WRITTEN, RunFolder
from src.sampling.jobs import GeneratedClip, GenerationJob
from src.sampling.kept_frames import RECORD

SAMPLES = "samples"


def own_folder(run: RunFolder, poses: str, key: str) -> RunFolder:
    """The folder of a video within its run: `samples/<name of the poses>`, with a number where another video is there.

    Args:
        poses: what the command line calls them.
        key: of everything that the video depends on (`video_key`).

    Raises:
        UserError: the way there leads out of the run, which may have come from anyone.
    """
    # The stem of `..` would be the run itself.
    return video_folder(run.path, Path(SAMPLES, Path(os.path.abspath(poses)).stem), key)


def video_folder(within: Path, name: Path, key: str) -> RunFolder:
    """The folder `name`, with a number where another video is there; see `free_folder`."""

    def key_of(folder: Path) -> str | None:
        # A long video that was stopped has no summary yet, but windows.
        known = RunFolder(folder).summary() or read_record(folder / UNFINISHED / RECORD)
        return None if known is None else str(known.get("key"))

    return RunFolder(free_folder(within, name, key_of, key))


def refuse_run_folder(output: str) -> None:
    """Raise a UserError where a video would take the place of what a run holds, or lie in what is replaced with it."""
    path = Path(os.path.abspath(output))
    for folder in (path, *path.parents):
        # Above it a config.yaml alone may be anybody's.
        marks = (ADAPTER, FINE_TUNE_RECORD, CONFIG) if folder == path else (ADAPTER, FINE_TUNE_RECORD)
        found = [name for name in marks if os.path.exists(folder / name)]
        part = "" if folder == path else path.relative_to(folder).parts[0]
        # A benchmark's run has one such folder for each set of held-out poses.
        replaced = part in (*WRITTEN, SEGMENTS) or re.fullmatch(rf"{HELD_OUT}_[0-9a-f]{{10}}", part)
        if found and (folder == path or replaced):
            place = "is" if folder == path else f"lies in {part} of"
            raise UserError(
                f"output={output} {place} a run folder ({found[0]} in it), whose own video would be replaced: give "
                f"another folder, or leave output out for {SAMPLES}/ in the run"
            )


def save_sample(
    output: RunFolder,
    clip: GeneratedClip,
    job: GenerationJob,
    beside: Beside,
    *,
    run: str,
    poses: str,
    key: str | None = None,
) -> dict[str, Any]:
    """Write the video of a person who was learnt, and return its `summary.json`.

    Args:
        run, poses: what the command line called them.
        key: by which `own_folder` finds it again; None: it does not look here.
    """
    said = {"run": run, "poses": poses, "prompt": job.target_prompt, "seed": job.seed, "method": plain(job.method)}
    said |= {} if key is None else {"key": key}
    return output.save_clip(clip, beside, said)
