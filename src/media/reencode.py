"""Some frames of a video replaced, everything else kept: the other frames, their times, the sound.

H.264 and its relatives predict frames from one another, so a few frames cannot be exchanged in the stream itself: the
video is encoded again. With `crf=0` that is lossless, and each kept frame decodes to exactly the pixels that it had.
Sound is copied packet by packet.
"""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
from av.codec import Codec
from av.video.reformatter import Colorspace

from src.common.errors import UserError
from src.common.files import atomic_path
from src.media.sources import EXACT, create_video, decoding, open_video
from src.media.video import REPEATABLE

MP4_SUFFIXES = frozenset({".mp4", ".mov", ".m4v"})
_ENCODER = "libx264"
# Matrix coefficients (ITU-T H.273); swscale takes all others for BT.601, as when decoding.
_BT709 = 1


def check_rewritable(path: str | Path) -> None:
    """Raise UserError unless `replace_frames` can keep the frames of this video as they are."""
    with open_video(path) as container, decoding(path):
        stream = container.streams.video[0]
        frame = next(container.decode(stream), None)
        known = {form.name for form in Codec(_ENCODER, "w").video_formats or ()}
        if frame is None or frame.format.name not in known:
            form = "no frame" if frame is None else f"the pixel format {frame.format.name}"
            raise UserError(f"{path} has {form}, which H.264 cannot keep: convert it to yuv420p first")
        if frame.rotation or (stream.sample_aspect_ratio or 1) != 1:
            raise UserError(
                f"{path} is shown rotated or with pixels that are not square, which would be lost: convert it first, "
                f"for example with ffmpeg -i {path} -vf 'scale=iw*sar:ih,setsar=1' -c:a copy upright.mp4"
            )


def count_frames(path: str | Path) -> int:
    """Frames that a video file holds, whatever the intervals at which they are shown."""
    with open_video(path) as container, decoding(path):
        return sum(bool(p.size) and not p.is_discard for p in container.demux(container.streams.video[0]))


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
    quality = REPEATABLE | ({"qp": "0"} if crf == 0 else {"crf": str(crf)})
    flags = {"movflags": "+faststart"} if Path(target).suffix in MP4_SUFFIXES else {}
    count = 0
    try:
        with (
            atomic_path(target) as temporary,
            open_video(source) as old,
            create_video(temporary, flags) as new,
        ):
            video = old.streams.video[0]
            stream = new.add_stream(_ENCODER, rate=video.average_rate or video.guessed_rate, options=quality)
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


def _replaced(frame: "av.VideoFrame", rgb: np.ndarray | None) -> "av.VideoFrame":
    """The frame itself, or new pixels in its format and at its time."""
    if rgb is not None:
        if rgb.shape != (frame.height, frame.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"a frame of {frame.width}x{frame.height} cannot be replaced by {rgb.dtype} {rgb.shape}")
        colorspace = Colorspace.ITU709 if int(frame.colorspace) == _BT709 else Colorspace.ITU601
        new = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
            format=frame.format.name,
            dst_colorspace=colorspace,
            dst_color_range=frame.color_range,
            interpolation=EXACT,
        )
        new.pts, new.time_base = frame.pts, frame.time_base
        return new
    # The encoder is to choose the kinds of its frames itself.
    frame.pict_type = 0
    return frame
