"""TED: speakers, from the public list of videos, frame ranges and boxes (Siarohin et al. 2021) or from cut clips.

Dimensions: H x W pixels, C = 3 channels in RGB order, uint8.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.common.errors import UserError
from src.common.reading import MEBIBYTE, read_text, safe_name
from src.data.datasets.base import Dataset, DatasetClip, Unavailable, numbered
from src.data.datasets.folder import Folder
from src.data.datasets.youtube import YouTube
from src.media.sources import MAX_FPS, MIN_FPS
from src.media.video import VideoReader, write_frames

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition")
# A box may be a pixel or two off square; more means that width and height are not those of the video.
SQUARE_TOLERANCE = 0.05
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]+")
MAX_LIST_BYTES = 64 * MEBIBYTE
MAX_ROWS = 1_000_000
# Of a video: a day at a hundred frames a second, and sides that exist.
MAX_FRAME, MAX_SIDE = 24 * 3600 * 100, 100_000


@dataclass(frozen=True)
class Row:
    """A line of the list.

    Attributes:
        youtube_id: of the video.
        start, end: frames, counted at `fps`; `end` is not included.
        box: left, top, right, bottom in pixels of a frame of `width` x `height`.
        partition: `train` or `test`.
    """

    youtube_id: str
    start: int
    end: int
    box: tuple[int, int, int, int]
    fps: float
    width: int
    height: int
    partition: str


class TED(Dataset):
    """TED, numbered by YouTube id and first frame, whatever the order of the list and whatever can be had.

    Args:
        metadata: the CSV file. Where its columns start and end are both 0, as in one published version, they are taken
            from the id, `<YouTube id>#<start>#<end>`.
        clips: instead of it, a folder of clips that are cut already, numbered by file name.
        pattern: which files of that folder.
        partition: which rows of the list.
        crop_to_box: cut the rows' boxes out of the frames; False: keep the whole frame, for `data.crop` to cut.
        cache: of downloads and cut clips.
        retry: ask again for videos that were gone.
        num_published_clips: see `Dataset`.
    """

    name = "ted"

    def __init__(
        self,
        *,
        metadata: str | None,
        clips: str | None,
        pattern: str,
        partition: str,
        crop_to_box: bool,
        cache: str,
        retry: bool,
        num_published_clips: int | None,
    ) -> None:
        if (metadata is None) == (clips is None):
            raise UserError(
                "dataset=ted needs either dataset.metadata=<its CSV file>, to download the videos, or "
                "dataset.clips=<folder of clips that are cut already>"
            )
        self.metadata, self.folder, self.pattern = metadata, clips, pattern
        self.partition, self.crop_to_box, self.num_published_clips = partition, crop_to_box, num_published_clips
        self.cache = Path(cache)
        self.youtube = YouTube(self.cache / "videos", retry=retry)

    def clips(self) -> list[DatasetClip]:
        if self.folder is not None:
            return Folder(
                name=self.name,
                root=self.folder,
                pattern=self.pattern,
                num_published_clips=self.num_published_clips,
                fps=None,
            ).clips()
        rows = read_rows(Path(str(self.metadata)))
        chosen = [row for row in rows if row.partition == self.partition]
        if not chosen:
            there = sorted({row.partition for row in rows})
            raise UserError(
                f"{self.metadata} has no rows of dataset.partition={self.partition}, only of {', '.join(there)}: "
                f"dataset.partition={'|'.join(there)} takes those"
            )
        chosen.sort(key=lambda row: (row.youtube_id, row.start, row.end, row.box))
        return [self._clip(index, row) for index, row in enumerate(chosen)]

    def _clip(self, index: int, row: Row) -> DatasetClip:
        box = "-".join(map(str, row.box)) if self.crop_to_box else "whole"
        folder = self.cache / "clips" / f"{row.youtube_id}_{row.start}-{row.end}_{box}"

        def fetch() -> Path:
            if not folder.is_dir():
                cut_clip(self.youtube.video(row.youtube_id), row, folder, crop_to_box=self.crop_to_box)
            return folder

        source = {
            "youtube": row.youtube_id,
            "frames": [row.start, row.end],
            "fps": row.fps,
            "box": list(row.box) if self.crop_to_box else None,
            "box_of_frame": [row.width, row.height] if self.crop_to_box else None,
            "partition": row.partition,
        }
        return DatasetClip(numbered(self.name, index), source, fetch, row.fps)


def read_rows(path: Path) -> list[Row]:
    """Read the list.

    Raises:
        UserError: no such file, other columns, or a line that makes no sense; names it.
    """
    if not path.is_file():
        raise UserError(f"dataset.metadata={path} does not exist: give the CSV file that lists the TED videos")
    with io.StringIO(read_text(path, max_bytes=MAX_LIST_BYTES), newline="") as file:
        reader = csv.DictReader(file)
        try:
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            rows = [] if missing else [_row(line) for line in itertools.islice(reader, MAX_ROWS + 1)]
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError, csv.Error) as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    if not 0 < len(rows) <= MAX_ROWS:
        raise UserError(f"{path} lists {f'more than {MAX_ROWS}' if rows else 'no'} videos")
    return rows


def cut_clip(video: Path, row: Row, folder: Path, *, crop_to_box: bool) -> None:
    """Write a row's frames as PNGs, at its rate and, with `crop_to_box`, cut to its box.

    Raises:
        Unavailable: the video ends before the clip does.
        UserError: the box is not square in this video's pixels.
    """
    total = len(VideoReader(video, fps=row.fps))
    if total < row.end:
        raise Unavailable(
            f"the clip is frames {row.start} to {row.end} at {row.fps:g} a second, but the video {row.youtube_id} has "
            f"{total}: the list and the video do not belong together"
        )
    reader = VideoReader(video, start=row.start, stop=row.end, fps=row.fps)
    box = box_in_pixels(row, reader.width, reader.height) if crop_to_box else (0, 0, reader.width, reader.height)
    write_frames(folder, _cropped(reader, box))


def box_in_pixels(row: Row, width: int, height: int) -> tuple[int, int, int, int]:
    """The row's box in a frame of that size: left, top, right, bottom, rounded down as in the authors' loader.

    Raises:
        UserError: it is not square or not inside there, so that the size in the list cannot be the video's.
    """
    scales = (width / row.width, height / row.height) * 2
    left, top, right, bottom = (int(value * scale) for value, scale in zip(row.box, scales, strict=True))
    across, down = right - left, bottom - top
    if min(across, down) < 1 or abs(across - down) > SQUARE_TOLERANCE * max(across, down) + 1:
        raise UserError(
            f"{row.youtube_id}: the box of the list is {across}x{down} pixels of this video's {width}x{height}, not "
            f"square: the list's frame size {row.width}x{row.height} is another one. The list that was first published "
            "is known for it (snap-research/articulated-animation, issues 12 and 17 say where the right one is); or "
            "set dataset.crop_to_box=false to crop around the person"
        )
    if right > width + 1 or bottom > height + 1:
        raise UserError(
            f"{row.youtube_id}: the box of the list ends at ({right}, {bottom}), outside of this video's "
            f"{width}x{height}: the list and the video do not belong together; or set dataset.crop_to_box=false to "
            "crop around the person"
        )
    return left, top, right, bottom


def _cropped(frames: VideoReader, box: tuple[int, int, int, int]) -> Iterator[np.ndarray]:
    left, top, right, bottom = box
    for frame_HWC in frames:
        yield frame_HWC[top:bottom, left:right]


def _row(line: dict[str, str]) -> Row:
    if None in line.values():
        raise ValueError(f"fewer than the {len(line)} columns of the first line")
    parts = line["video_id"].split("#")
    # It becomes the name of a file and a part of an address.
    if not _YOUTUBE_ID.fullmatch(safe_name(parts[0], "video_id")):
        raise ValueError(f"video_id {parts[0]} is no YouTube id")
    start, end = int(line["start"]), int(line["end"])
    if start == end == 0:
        if len(parts) != 3:
            raise ValueError(f"start and end are 0, and the id {parts[0]} goes on without #start#end")
        start, end = int(parts[1]), int(parts[2])
    if not 0 <= start < end <= MAX_FRAME:
        raise ValueError(f"frames {start} to {end} are no range")
    box = tuple(int(value) for value in line["bbox"].split("-"))
    if len(box) != 4 or not (box[0] < box[2] <= MAX_SIDE and box[1] < box[3] <= MAX_SIDE):
        raise ValueError(f"bbox {line['bbox']} is not left-top-right-bottom")
    fps, width, height = float(line["fps"]), int(line["width"]), int(line["height"])
    if not (MIN_FPS <= fps <= MAX_FPS and 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(f"fps {fps:g}, width {width} or height {height} is none that a video has")
    return Row(parts[0], start, end, box, fps, width, height, str(line["partition"]))
