"""Some frames of a video replaced, everything else kept: the other frames, their times, the sound.

H.264 and its relatives predict frames from one another, so a few frames cannot be exchanged in the stream itself: the
video is encoded again. With `crf=0` that is lossless, and each kept frame decodes to exactly the pixels that it had:
what turns them into RGB (matrix, range, where the samples of colour lie) is carried over. Sound is copied packet
by packet.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
from av.codec import Codec
from av.video.reformatter import Colorspace

from src.common.atomic import atomic_path
from src.common.errors import UserError
from src.media.orientation import orientation
from src.media.sources import EXACT, alpha_decoder, create_video, decoding, ffmpeg_of, has_alpha, open_video, timestamps
from src.media.video import REPEATABLE, as_rate

MP4_SUFFIXES = frozenset({".mp4", ".mov", ".m4v"})
_ENCODER = "libx264"
_LOSSLESS = {"qp": "0"}
# swscale's numbers are the codes of the matrix coefficients in ITU-T H.273; what it has none for it reads as BT.601.
_MATRICES = {int(matrix): matrix for matrix in Colorspace}
# FFmpeg's names of where the samples of colour lie; "unspecified" of H.264 is "left".
_CHROMA_LOCATIONS = ("unspecified", "center", "topleft", "top", "bottomleft", "bottom")


def check_rewritable(path: str | Path) -> None:
    """Raise UserError unless `replace_frames` can keep the frames of this video as they are."""
    with open_video(path) as container, decoding(path):
        stream = container.streams.video[0]
        frame = next(container.decode(stream), None)
        decoder = alpha_decoder(stream)
        if decoder or (frame is not None and has_alpha(stream, frame)):
            raise UserError(
                f"{path} has an alpha channel, which H.264 cannot keep: lay it on black first, for example with "
                f"{ffmpeg_of(path, decoder)} -vf premultiply=inplace=1,format=yuv420p "
                "-c:a copy black.mkv"
            )
        known = {form.name for form in Codec(_ENCODER, "w").video_formats or ()}
        if frame is None or frame.format.name not in known:
            form = "no frame" if frame is None else f"the pixel format {frame.format.name}"
            raise UserError(f"{path} has {form}, which H.264 cannot keep: convert it to yuv420p first")
        if any(orientation(frame)) or (stream.sample_aspect_ratio or 1) != 1:
            raise UserError(
                f"{path} is shown turned, mirrored or with pixels that are not square, which would be lost: convert it "
                f"first, for example with {ffmpeg_of(path)} -vf 'scale=iw*sar:ih,setsar=1' -c:a copy upright.mp4"
            )


def replace_frames(source: str | Path, target: str | Path, frames: Mapping[int, np.ndarray], *, crf: int = 0) -> None:
    """Write `source` with some frames replaced, whole or not at all.

    Args:
        source: a video that `check_rewritable` accepts.
        target: .mp4, or .mkv, which holds any kind of sound.
        frames: index in order of display to (H, W, 3) uint8 RGB of the video's size.
        crf: libx264's constant rate factor; 0 is lossless, but some players show H.264 only from 1 on.

    Raises:
        UserError: the video cannot be decoded to its end, or its sound does not fit the target.
    """
    quality = REPEATABLE | (_LOSSLESS if crf == 0 else {"crf": str(crf)})
    flags = {"movflags": "+faststart"} if Path(target).suffix in MP4_SUFFIXES else {}
    count = 0
    try:
        _, rate = timestamps(source)
        quality |= {"chroma_sample_location": _chroma_location(source)}
        with (
            atomic_path(target) as temporary,
            open_video(source) as old,
            create_video(temporary, flags) as new,
        ):
            video = old.streams.video[0]
            stream = new.add_stream(_ENCODER, rate=as_rate(rate), options=quality)
            _take_over(video.codec_context, stream.codec_context)
            if video.time_base is not None:
                stream.codec_context.time_base = video.time_base
            sound = {track.index: new.add_stream_from_template(track) for track in old.streams.audio}
            for packet in old.demux(video, *old.streams.audio):
                if packet.stream is video:
                    for frame in packet.decode():
                        assert isinstance(frame, av.VideoFrame)
                        new.mux(stream.encode(_replaced(frame, frames.get(count))))
                        count += 1
                elif packet.dts is not None:
                    packet.stream = sound[packet.stream.index]
                    new.mux(packet)
            new.mux(stream.encode())
    except UserError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f"{source} cannot be written as {target}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _take_over(old: "av.VideoCodecContext", new: "av.VideoCodecContext") -> None:
    new.width, new.height, new.pix_fmt = old.width, old.height, old.pix_fmt
    for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
        setattr(new, name, getattr(old, name))


def _chroma_location(source: str | Path) -> str:
    """Where the samples of colour of a video lie, of `_CHROMA_LOCATIONS`.

    PyAV does not say, so noise that is marked as the video's frames are is encoded with each of them, until it decodes
    as it did before. Of formats whose colour is not subsampled the first one does.
    """
    with open_video(source) as old:
        video = old.streams.video[0]
        with decoding(source):
            frame = next(old.decode(video), None)
        if frame is None:
            raise UserError(f"{source} holds no frames")
        # A copy, with all that the frame is marked with.
        probe = frame.reformat(width=64, height=32 if frame.height != 32 else 48)
        random = np.random.default_rng(0)
        kind, most = (np.uint8, 256) if frame.format.components[0].bits == 8 else (np.uint16, 512)
        for plane in probe.planes:
            plane.update(random.integers(most, size=plane.buffer_size // np.dtype(kind).itemsize, dtype=kind).tobytes())
        probe.pict_type, probe.pts = 0, None
        wanted = probe.to_ndarray(format="rgb24", interpolation=EXACT)
        for location in _CHROMA_LOCATIONS:
            written = io.BytesIO()
            with av.open(written, "w", format="matroska") as new:
                stream = new.add_stream(_ENCODER, rate=1, options=_LOSSLESS | {"chroma_sample_location": location})
                _take_over(video.codec_context, stream.codec_context)
                stream.width, stream.height = probe.width, probe.height
                new.mux(stream.encode(probe))
                new.mux(stream.encode())
            written.seek(0)
            with av.open(written, "r") as again:
                found = next(again.decode(video=0)).to_ndarray(format="rgb24", interpolation=EXACT)
            if np.array_equal(found, wanted):
                return location
    return _CHROMA_LOCATIONS[0]


def _replaced(frame: "av.VideoFrame", rgb: np.ndarray | None) -> "av.VideoFrame":
    """The frame itself, or new pixels in its format and at its time."""
    if rgb is not None:
        if rgb.shape != (frame.height, frame.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"a frame of {frame.width}x{frame.height} cannot be replaced by {rgb.dtype} {rgb.shape}")
        new = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
            format=frame.format.name,
            dst_colorspace=_MATRICES.get(int(frame.colorspace), Colorspace.ITU601),
            dst_color_range=frame.color_range,
            interpolation=EXACT,
        )
        new.pts, new.time_base = frame.pts, frame.time_base
        return new
    # The encoder is to choose the kinds of its frames itself.
    frame.pict_type = 0
    return frame
