"""Where `src.sample` puts the videos of a person who was learnt: `<run>/samples/<name of the poses>`."""

import os
from pathlib import Path

from src.common.errors import UserError
from src.runs.run_folder import UNFINISHED, RunFolder

SAMPLES = "samples"


def own_folder(run: RunFolder, poses: str) -> RunFolder:
    """The folder of a video within its run.

    Args:
        poses: what the command line calls them; the folder is named after it.

    Raises:
        UserError: the way there leads out of the run, which may have come from anyone.
    """
    # The stem of `..` would be the run itself.
    folder = run.path / SAMPLES / Path(os.path.abspath(poses)).stem
    for path in (folder.parent, folder, folder / UNFINISHED):
        if path.is_symlink():
            raise UserError(f"{path} is a link, which may lead out of the run folder: remove it, or give output=FOLDER")
    return RunFolder(folder)
