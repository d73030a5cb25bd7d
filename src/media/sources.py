"""Video files, opened, timed and decoded within limits.

A file may claim anything: frames of gigapixels, years between two of them, or to be a playlist of other files. Formats
that name other files are not read, and what is claimed is checked before memory is taken for it.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.
"""

import contextlib
import logging
import shlex
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import Interpolation

from src.common.errors import UserError, explained
from src.common.once import say_once
from src.common.reading import open_regular
from src.media.orientation import orientation

log = logging.getLogger(__name__)

FOLDER_FPS = Fraction(10)
MIN_FPS, MAX_FPS = Fraction(1, 100), Fraction(1000)
MAX_PIXELS = 2**26  # of a frame; 8K has half as many
MAX_FRAMES = 2_000_000  # of a clip; nine hours at 60 a second
MAX_GAP_SECONDS = 600  # from one frame to the next
# Of a stated rate, which is exact (29.97), from what the times of the frames give; their rounding is allowed beside it.
STATED_TOLERANCE = 0.01
# FFmpeg's names, with the suffixes by which a file in a folder is known for a video; left out is what reads other files
# (hls, concat, dash, image2) or is no video (tty renders any text).
_CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": (".mp4", ".mov", ".m4v", ".3gp", ".3g2", ".qt"),
    "matroska,webm": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "mpegvideo": (".m1v", ".m2v"),
    "mpegts": (".ts", ".mts", ".m2ts"),
    "asf": (".wmv", ".asf"),
    "flv": (".flv",),
    "ogg": (".ogv",),
    "mxf": (".mxf",),
    "gif": (".gif",),
    "apng": (".apng",),
    "dv": (".dv",),
    "nut": (".nut",),
    "ivf": (".ivf",),
    "yuv4mpegpipe": (".y4m",),
} | dict.fromkeys(("webp_pipe", "m4v", "h264", "hevc", "av1", "obu", "vob"), ())
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset(suffix for suffixes in _CONTAINERS.values() for suffix in suffixes)
# swscale's faster defaults darken every channel by about one level and quadruple the colour error.
EXACT = int(Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)

# FFmpeg's own decoders of these leave out the alpha that Matroska keeps beside the picture.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def file_url(path: str | Path) -> str:
    """A path as FFmpeg takes it for a file whatever its name: `http:clip.mp4` would be an address."""
    return f"file:{path}"


def open_video(path: str | Path) -> InputContainer:
    """Open a video file that has a video stream, the first of which is the one to read.

    Raises:
        ResourceError: it cannot be read.
        UserError: it is no video file, of a format that is not read, or with frames that are too large.
    """
    with open_regular(path) as file:
        head = file.read(21)
    if not head:
        raise UserError(f"{path} is empty (0 bytes): copy or download the video again")
    # A bit of the byte behind the first chunk's head, see the WebP container specification.
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:] and head[20] & 2:
        raise UserError(f"{path} is an animated WebP, which is not read: convert it to mp4 or gif")
    _silence_ffmpeg()
    only = {"format_whitelist": ",".join(_CONTAINERS)}
    try:
        # A title in the alphabet of an old camera is none of ours.
        container = av.open(file_url(path), options=only, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        why = f"not a readable video ({getattr(error, 'strerror', None) or error})"
        # After the try: a PNG can be a film.
        what = "a single picture" if Path(path).suffix.lower() in IMAGE_SUFFIXES else why
        raise explained(error, path, "read") or UserError(
            f"{path} is {what}: expected a video file such as mp4, mov, mkv or webm (playlists are not followed), or a "
            "folder of images"
        ) from error
    if not container.streams.video:
        container.close()
        raise UserError(f"{path} has no video stream: expected a video file or a folder of images")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        container.close()
        raise UserError(f"{path} is in a video format that is not known here: convert it to mp4")
    try:
        check_pixels(path, context.width, context.height)
        context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO"
    except BaseException:
        container.close()
        raise
    return container


@contextlib.contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Raise what FFmpeg finds wrong within the block as a UserError about the video at `path`."""
    try:
        yield
    except (av.FFmpegError, MemoryError) as error:
        raise explained(error, path, "read") or UserError(
            f"{path} is damaged ({getattr(error, 'strerror', error)}): re-encode it, or read fewer frames of it"
        ) from error


def check_pixels(path: str | Path, width: int, height: int) -> None:
    """Raise UserError where a frame of that size is larger than any that is read."""
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{path} has frames of {width}x{height} pixels, more than the {MAX_PIXELS} that are read: scale it down"
        )


def timestamps(path: str | Path) -> tuple[np.ndarray, Fraction]:
    """Start of every frame in seconds, rising, and the average rate: as stated where their times agree, else measured.

    Reads no pixels.

    Raises:
        UserError: not readable, no frames, too many, or times that cannot be true.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        stamps = []
        with decoding(path):
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    stamps.append(packet.pts)
                if len(stamps) > MAX_FRAMES:
                    raise UserError(f"{path} has more than {MAX_FRAMES} frames: cut it first")
        if not stamps:
            raise UserError(f"{path} holds no frames")
        known = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate and MIN_FPS <= rate <= MAX_FPS]
        if stream.time_base is None or any(stamp is None for stamp in stamps):
            if not known:
                raise UserError(f"{path} says neither its frame rate nor when its frames are shown; convert it to mp4")
            return np.arange(len(stamps)) / float(known[0]), known[0]
        # What a stream says is freed with its container.
        tick = float(stream.time_base)
    times = np.sort(np.array(stamps, np.float64)) * tick
    gaps = np.diff(times, prepend=times[0])
    if gaps.max() > MAX_GAP_SECONDS:
        raise UserError(
            f"{path}: frame {gaps.argmax()} is shown {gaps.max():.0f} seconds after the one before it: its times are "
            "damaged; re-encode it, or cut it before that frame"
        )
    if times[-1] > times[0]:
        # What a file states may be no rate of its frames: of WebM as browsers record it FFmpeg guesses its clock's.
        count, seconds = len(times) - 1, times[-1] - times[0]
        measured, allowed = Fraction(count / seconds), STATED_TOLERANCE * seconds + tick
        known = [rate for rate in known if abs(count / rate - seconds) <= allowed] or [measured]
        if not MIN_FPS <= known[0] <= MAX_FPS:
            raise UserError(f"{path} has {float(measured):.3g} frames a second, so its times are damaged: re-encode it")
    return times, known[0] if known else FOLDER_FPS


def create_video(path: str | Path, options: dict[str, str]) -> OutputContainer:
    """Open a video file for writing; `options` are the container format's own."""
    _silence_ffmpeg()
    return av.open(file_url(path), "w", options=options)


def _silence_ffmpeg() -> None:
    # Libraries turn PyAV's log on for the whole process (torchvision 0.25 does). FFmpeg's threads then wait for
    # Python's lock to log, while the thread that has it waits in close() for them.
    av.logging.set_level(None)


def decode(path: str | Path) -> Iterator[np.ndarray]:
    """Yield the (H, W, 3) frames of a video file, turned, mirrored and stretched as they are to be shown, on black.

    Raises:
        UserError: damaged, or frames that are too large.
    """
    with open_video(path) as container, decoding(path):
        stream = container.streams.video[0]
        aspect = stream.sample_aspect_ratio or 1
        for frame in _frames(container):
            width = max(round(frame.width * aspect), 1)
            check_pixels(path, width, frame.height)
            see_through = has_alpha(stream, frame)
            form = "rgba" if see_through else "rgb24"
            picture = frame.to_ndarray(format=form, width=width, height=frame.height, interpolation=EXACT)
            rgb = over_black(picture, str(path)) if see_through else picture
            yield orientation(frame).applied(rgb)


def ffmpeg_of(path: str | Path, decoder: str | None = None) -> str:
    """How a command of FFmpeg that reads a file begins, as a shell takes it; for messages."""
    name = file_url(path) if ":" in str(path) else str(path)
    return f"ffmpeg {f'-c:v {decoder} ' if decoder else ''}-i {shlex.quote(name)}"


def has_alpha(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Whether a decoded frame has an alpha: of uncompressed pixels the fourth byte is as often left empty."""
    return stream.codec_context.name != "rawvideo" and any(part.is_alpha for part in frame.format.components)


def alpha_decoder(stream: av.VideoStream) -> str | None:
    """What decodes a stream with the alpha that Matroska keeps beside it, as FFmpeg calls it; None: it has none."""
    return _WITH_ALPHA.get(stream.codec_context.name) if stream.metadata.get("alpha_mode") == "1" else None


def _frames(container: InputContainer) -> Iterator[av.VideoFrame]:
    """The decoded frames of the first video stream, with their alpha where they have any."""
    stream = container.streams.video[0]
    context = stream.codec_context
    if (name := alpha_decoder(stream)) is None:
        yield from container.decode(stream)
        return
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata, decoder.options, decoder.thread_type = context.extradata, context.options, "AUTO"
    for name in ("colorspace", "color_range"):
        setattr(decoder, name, getattr(context, name))
    for packet in container.demux(stream):
        yield from decoder.decode(packet)


def over_black(rgba: np.ndarray, where: str) -> np.ndarray:
    """(H, W, 3) uint8 of a (H, W, 4) picture on black: what is hidden behind transparent pixels is not to be seen.

    Args:
        rgba: uint8, the colours not multiplied by their alpha yet.
        where: it is from; said once.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    said = "with transparent pixels, which are read on black; lay it on another background first if need be"
    say_once(log, logging.INFO, f"{where}: {said}")
    return ((rgb.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
