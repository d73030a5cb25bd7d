"""TikTok: the ten test videos that DisCo published, in its TSV layout or as folders of frames."""

import hashlib
from pathlib import Path

from src.common.errors import UserError
from src.data.datasets.base import Dataset, DatasetClip, numbered
from src.data.datasets.folder import Folder
from src.data.datasets.tsv import Rows, TsvFile, extract_frames, find_clips

IMAGES = "_images.tsv"


class TikTok(Dataset):
    """DisCo's test videos, numbered as they follow each other in its file.

    Args:
        root: folder with `<split>_images.tsv`, or with a folder of frames for each clip (`src.data.datasets.folder`).
        split: which TSV files; DisCo's test videos are `new10val_TiktokDance`. None: the only ones there.
        pattern: which folders of frames.
        cache: where the frames out of a TSV file are written.
        num_published_clips: see `Dataset`.
        fps: frames a second, which neither layout says.
    """

    name = "tiktok"

    def __init__(
        self, *, root: str, split: str | None, pattern: str, cache: str, num_published_clips: int | None, fps: float
    ) -> None:
        self.root, self.split, self.pattern = Path(root), split, pattern
        self.cache, self.num_published_clips, self.fps = Path(cache), num_published_clips, fps

    def clips(self) -> list[DatasetClip]:
        splits = sorted(path.name.removesuffix(IMAGES) for path in self.root.glob(f"*{IMAGES}"))
        if not splits and self.split is None:
            return Folder(
                name=self.name,
                root=str(self.root),
                pattern=self.pattern,
                num_published_clips=self.num_published_clips,
                fps=self.fps,
            ).clips()
        if self.split is None and len(splits) > 1:
            raise UserError(f"dataset.root={self.root} holds several splits: dataset.split={'|'.join(splits)}")
        split = self.split or splits[0]
        if split not in splits:
            raise UserError(
                f"dataset.split={split}: no {split}{IMAGES} in dataset.root={self.root}; there is "
                f"{', '.join(splits) or 'no TSV file at all'}"
            )
        images, clip_of_row = TsvFile(self.root / f"{split}{IMAGES}"), TsvFile(self.root / f"{split}_vid2line.tsv")
        return [
            self._clip(split, index, rows, images, clip_of_row)
            for index, rows in enumerate(find_clips(images, clip_of_row))
        ]

    def _clip(self, split: str, index: int, rows: Rows, images: TsvFile, clip_of_row: TsvFile) -> DatasetClip:
        stat = images.path.stat()
        version = hashlib.sha256(f"{images.path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:8]
        folder = self.cache / f"{split}_{rows.key}_{rows.first}-{rows.last}_{version}"

        def fetch() -> Path:
            if not folder.is_dir():
                extract_frames(images, clip_of_row, rows, folder)
            return folder

        source = {"split": split, "clip": rows.key, "rows": [rows.first, rows.last]}
        return DatasetClip(numbered(self.name, index), source, fetch, self.fps)
