"""Videos and folders of images in, H.264 videos and PNG folders out.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.
"""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from src.common.arrays import collected
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import UserError, in_one_line
from src.common.once import say_once
from src.common.reading import size_in_words
from src.media.pictures import list_images, read_image
from src.media.read_as import read_as
from src.media.sound import Soundtrack, SoundWriter
from src.media.sources import (
    EXACT,
    FOLDER_FPS,
    MAX_FPS,
    MAX_FRAMES,
    MIN_FPS,
    create_video,
    decode,
    timestamps,
)

log = logging.getLogger(__name__)

MAX_CLIP_BYTES = 2**35  # of one clip's frames
_BT709 = 1  # the code of BT.709 for matrix, primaries and transfer alike (ITU-T H.273)
_LIMITED_RANGE = 1
_WRITTEN_AT_ONCE = 16
# libx264's rate control by macroblock trees reads memory that it has not set: of pictures narrower than 128 pixels the
# same frames came out in two or three ways, by what the memory held before.
REPEATABLE = {"x264-params": "mbtree=0"}


@dataclass(frozen=True, eq=False)
class Video:
    """A clip.

    Attributes:
        frames: (F, H, W, 3) uint8, RGB; of a long one read-only, and on disk until they are read.
        fps: frames a second.
        path: where it came from.
    """

    frames: np.ndarray
    fps: Fraction
    path: Path


class VideoReader:
    """The frames of a video file or of a folder of images, streamed; iterate over it as often as needed.

    The display matrix and non-square pixels are applied, audio is ignored. A video of variable frame rate is
    brought to its average rate by taking the nearest frame in time. The log says how it is read, and what is
    lost. The images of a folder are read in natural order ("2.png" before "10.png") and must have one size.

    Args:
        path: video file or folder of images.
        start: first frame, counted at the rate `fps`.
        stop: frame to stop before; None: to the end.
        fps: read a video at this rate (nearest frames in time); None: its own. The images of a folder are
            all read whatever the rate: it only says how fast they follow each other (None: 10).

    Attributes:
        path, fps, width, height: width and height as displayed, in pixels.
        num_frames: how many frames iterating yields.

    Raises:
        UserError: nothing there, not readable as video, or no frame in the range asked for. Damage found
            while iterating raises it too.
    """

    def __init__(
        self, path: str | Path, *, start: int = 0, stop: int | None = None, fps: Fraction | float | None = None
    ) -> None:
        self.path = Path(path)
        if start < 0 or (stop is not None and stop <= start):
            raise UserError(f"the range of frames must be 0 <= start < stop, got start={start}, stop={stop}")
        if fps is not None and not MIN_FPS <= fps <= MAX_FPS:
            raise UserError(f"frames a second must be from {float(MIN_FPS)} to {MAX_FPS}, got {fps}")
        with in_one_line(self.path, "read"):
            if not self.path.exists():
                raise UserError(f"no video at {self.path}: expected a video file or a folder of images")
            self._images = list_images(self.path) if self.path.is_dir() else None
        if self._images is not None:
            self.fps = as_rate(FOLDER_FPS if fps is None else fps)
            repeats = np.ones(len(self._images), int)
        else:
            times, own_fps = timestamps(self.path)
            self.fps = as_rate(own_fps if fps is None else fps)
            if fps is None and _is_uniform(times):
                repeats = np.ones(len(times), int)
            else:
                if (times[-1] - times[0]) * float(self.fps) > MAX_FRAMES:
                    raise UserError(
                        f"{self.path} has more than {MAX_FRAMES} frames at {float(self.fps):.3g} fps: cut it"
                    )
                repeats = nearest_in_time(times, float(self.fps))
                changing = "" if _is_uniform(times) else " of changing length"
                log.info(
                    "%s: %s%s read as %d at %.4g fps",
                    *(path, counted(len(times), "frame"), changing, repeats.sum(), float(self.fps)),
                )
            how, lost = read_as(self.path, times)
            log.info("%s: %s, %.4g fps", path, how, float(self.fps))
            for warning in lost:
                say_once(log, logging.WARNING, warning)
        # Output frame k is a copy of source frame i where ends[i - 1] <= k < ends[i].
        ends = np.cumsum(repeats)
        total = int(ends[-1])
        if start >= total:
            raise UserError(f"{self.path} has {counted(total, 'frame')}, so it cannot start at frame {start}")
        ends = np.clip(ends, start, total if stop is None else stop)
        self.repeats = np.diff(ends, prepend=start)
        self.num_frames = int(self.repeats.sum())
        # Of the first frame there is, not the first that is read: all have one size, and many may lie before that.
        if (first := next(self._decoded(), None)) is None:
            raise self._damaged(0)
        self.height, self.width = first.shape[:2]

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield (H, W, 3) uint8 RGB frames."""
        last = self._last
        size, read = None, 0
        for index, frame in enumerate(self._decoded()):
            size = size or frame.shape
            if frame.shape != size:
                which = f"frame {index}" if self._images is None else self._images[index].name
                raise UserError(
                    f"{self.path}: {which} is {frame.shape[1]}x{frame.shape[0]} pixels where the first is "
                    f"{size[1]}x{size[0]}; all frames of a clip must have one size"
                )
            read = index + 1
            for _ in range(self.repeats[index] if index <= last else 0):
                yield frame
            if index >= last:
                return
        raise self._damaged(read)

    def _decoded(self) -> Iterator[np.ndarray]:
        """All frames that are there, from the first on."""
        return decode(self.path) if self._images is None else map(read_image, self._images)

    @property
    def _last(self) -> int:
        """Number of the last source frame that is read."""
        return int(np.flatnonzero(self.repeats)[-1])

    def _damaged(self, read: int) -> UserError:
        return UserError(
            f"{self.path} is damaged: {counted(read, 'frame')} could be read where {self._last + 1} were expected; "
            "re-encode it, or read fewer frames of it"
        )


def read_video(path: str | Path) -> Video:
    """Read a whole clip, a long one onto disk (`collected`); errors are those of `VideoReader`."""
    reader = VideoReader(path)
    size = len(reader) * reader.height * reader.width * 3
    if size > MAX_CLIP_BYTES:
        raise UserError(
            f"{path}: {counted(len(reader), 'frame')} of {reader.width}x{reader.height} pixels take "
            f"{size_in_words(size)}: read fewer, or scale the video down"
        )
    with in_one_line(path, "read"):
        frames_FHWC = collected(reader, len(reader), (reader.height, reader.width))
    return Video(frames_FHWC, reader.fps, reader.path)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: Fraction | float,
    *,
    crf: int = 16,
    sound: Soundtrack | None = None,
) -> None:
    """Write (H, W, 3) uint8 RGB frames as H.264 (yuv420p, BT.709, limited range), whole or not at all.

    An odd width or height is made even by repeating the last column or row, which yuv420p needs.

    Args:
        crf: libx264's constant rate factor, 0 (best) to 51; 16 is visually lossless.
        sound: laid under it; None: none.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"no frames to write to {path}")
    height, width = first.shape[:2]
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    with (
        atomic_path(path) as temporary,
        create_video(temporary, {"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream("libx264", rate=as_rate(fps), options={"crf": str(crf)} | REPEATABLE)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        under = None if sound is None else SoundWriter(container, sound)
        for index, frame in enumerate(chain([first], frames)):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise ValueError(f"frames must be uint8 of shape {first.shape}, got {frame.dtype} {frame.shape}")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.pad(frame, pad, "edge")), format="rgb24")
            picture = picture.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=EXACT,
            )
            container.mux(stream.encode(picture))
            if under is not None:
                under.write_until((index + 1) / float(fps))
        container.mux(stream.encode())
        if under is not None:
            under.finish()


def write_frames(folder: str | Path, frames: Iterable[np.ndarray]) -> None:
    """Write (H, W, 3) uint8 RGB frames as lossless PNGs `00000.png`, `00001.png`, ..., replacing the folder."""
    with atomic_path(folder) as temporary, ThreadPoolExecutor() as pool:
        temporary.mkdir()
        numbered = ((temporary / f"{index:05d}.png", frame) for index, frame in enumerate(frames))
        # OpenCV lets go of the interpreter lock while it packs. A few at a time: those of a long clip come one by one.
        while some := list(islice(numbered, _WRITTEN_AT_ONCE)):
            list(pool.map(write_image, *zip(*some, strict=True)))


def write_image(path: Path, image: np.ndarray) -> None:
    """Write one (H, W, 3) uint8 RGB picture in the format that the suffix names."""
    _, data = cv2.imencode(path.suffix, image[..., ::-1])
    path.write_bytes(data.tobytes())


def nearest_in_time(times: np.ndarray, rate: float) -> np.ndarray:
    """How often to show each frame so that the clip runs at `rate` frames a second with unchanged timing.

    Args:
        times: (F,) seconds at which each frame starts, rising.

    Returns:
        (F,) int: 0 drops a frame, 2 repeats it once. The sum is the new number of frames, at least 1.

    >>> nearest_in_time(np.arange(6) / 30, 15.0).tolist()
    [1, 0, 1, 0, 1, 0]
    """
    if len(times) == 1:
        return np.ones(1, int)
    times = times - times[0]
    duration = times[-1] + np.median(np.diff(times))
    wanted = np.arange(max(1, round(duration * rate))) / rate
    between = (times[1:] + times[:-1]) / 2
    # The tolerance makes ties go to the earlier frame whatever the rounding.
    return np.bincount(np.searchsorted(between, wanted - 1e-6), minlength=len(times))


def _is_uniform(times: np.ndarray) -> bool:
    grid = np.linspace(times[0], times[-1], len(times))
    spacing = (times[-1] - times[0]) / max(len(times) - 1, 1)
    return bool(np.abs(times - grid).max() <= 0.75 * spacing)


def as_rate(fps: Fraction | float) -> Fraction:
    """Frames a second as a fraction that files can hold: 30000/1001 and the like exactly."""
    return Fraction(fps).limit_denominator(1001)
