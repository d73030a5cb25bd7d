"""Any clips: a folder of videos, or of folders of frames."""

import logging
from pathlib import Path

from src.common.errors import UserError, in_one_line
from src.common.files import natural_key
from src.data.datasets.base import Dataset, DatasetClip, numbered
from src.media.pictures import images_in
from src.media.sources import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

# The TikTok data set keeps a clip's frames in <clip>/images, beside masks and dense poses.
FRAMES = "images"


class Folder(Dataset):
    """The clips in a folder, numbered in natural order of their file names ("2" before "10").

    Args:
        name: of the data set.
        root: the folder. A clip is a video file, a folder of images, or a folder that holds one in `images/`.
        pattern: which of its entries are clips, as a shell would match them.
        num_published_clips: see `Dataset`.
        fps: at which clips are read: of a folder of frames how fast they follow each other; None: a video's own, and
            10 for frames.
    """

    def __init__(
        self, *, name: str, root: str, pattern: str, num_published_clips: int | None, fps: float | None
    ) -> None:
        self.name, self.root, self.pattern = name, Path(root), pattern
        self.num_published_clips, self.fps = num_published_clips, fps

    def clips(self) -> list[DatasetClip]:
        with in_one_line(self.root, "read"):
            if not self.root.is_dir():
                raise UserError(
                    f"dataset.root={self.root} is no folder: name one that holds videos or folders of frames"
                )
            found = {entry: _clip(entry) for entry in self._entries() if not entry.name.startswith(".")}
        paths = [path for path in found.values() if path is not None]
        if others := sorted(entry.relative_to(self.root).as_posix() for entry, path in found.items() if path is None):
            log.info(
                "dataset.root=%s: passed over, as neither videos by their suffix nor folders of images: %s%s",
                *(self.root, ", ".join(others[:10]), f" and {len(others) - 10} more" if len(others) > 10 else ""),
            )
        if not paths:
            raise UserError(
                f"dataset.root={self.root} holds no clip that matches dataset.pattern={self.pattern}: expected video "
                "files, or folders of images"
            )
        paths.sort(key=lambda path: natural_key(path.relative_to(self.root).as_posix()))
        return [self._numbered(index, path) for index, path in enumerate(paths)]

    def _entries(self) -> list[Path]:
        """What the pattern matches; a name that has brackets of its own matches as it is."""
        if self.pattern in {entry.name for entry in self.root.iterdir()}:
            return [self.root / self.pattern]
        try:
            return [entry for entry in self.root.glob(self.pattern) if ".." not in entry.relative_to(self.root).parts]
        except (ValueError, NotImplementedError, IndexError) as error:
            raise UserError(
                f"dataset.pattern={self.pattern} is no pattern of names in dataset.root ({error}): expected one such "
                "as *.mp4"
            ) from error

    def _numbered(self, index: int, path: Path) -> DatasetClip:
        source = {"file": path.relative_to(self.root).as_posix()}
        return DatasetClip(numbered(self.name, index), source, lambda: path, self.fps)


def _clip(entry: Path) -> Path | None:
    if entry.is_file():
        return entry if entry.suffix.lower() in VIDEO_SUFFIXES else None
    for folder in (entry, entry / FRAMES):
        if folder.is_dir() and images_in(folder):
            return folder
    return None
