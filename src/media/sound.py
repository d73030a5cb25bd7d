"""The sound of a video, cut to a stretch of time and laid under another one.

It is decoded and encoded again as AAC: packets as they are could be cut only at their borders, and not every codec goes
into an mp4.

Dimensions: A samples a channel, of `rate` a second.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from src.media.sources import open_video, timestamps

log = logging.getLogger(__name__)

_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
_RATE, _BITS_PER_SECOND = 48000, 192_000
# Stamps jitter by a millisecond or so; a larger step is a gap or an overlap.
_TOLERANCE_SECONDS = 0.02
_FORMAT = "fltp"


@dataclass(frozen=True)
class Soundtrack:
    """A stretch of the first sound of a video file.

    Attributes:
        path: of the file.
        start: in seconds of the file's own clock.
        seconds: how long.
        rate: samples a second; layout: `mono` or `stereo`, what it is brought to.
    """

    path: Path
    start: float
    seconds: float
    rate: int
    layout: str

    def blocks(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (C, A) float32 samples in order, each block with the second at which it ends, counted from `start`.

        Silence stands where the file has none. Sound that is damaged ends where the damage begins, and the log says so.
        """
        written, total = 0, round(self.seconds * self.rate)
        for position, samples in self._decoded():
            gap = position - written
            if gap > (self.rate * _TOLERANCE_SECONDS if written else 0):
                end = min(position, total)
                while written < end:
                    # A second at a time: hours of it may stand before the first sound.
                    silence = np.zeros((samples.shape[0], min(self.rate, end - written)), np.float32)
                    written += silence.shape[1]
                    yield written / self.rate, silence
            elif gap < 0 and (not written or -gap > self.rate * _TOLERANCE_SECONDS):
                samples = samples[:, -gap:]
            samples = samples[:, : total - written]
            if samples.shape[1]:
                written += samples.shape[1]
                yield written / self.rate, samples
            if written >= total:
                return

    def _decoded(self) -> Iterator[tuple[int, np.ndarray]]:
        """Samples with where they belong, in samples after `start`."""
        resampler = av.AudioResampler(format=_FORMAT, layout=self.layout, rate=self.rate)
        with open_video(self.path) as container:
            stream = container.streams.audio[0]
            try:
                for frame in container.decode(stream):
                    if frame.time is None:
                        continue
                    position = round((frame.time - self.start) * self.rate)
                    for part in resampler.resample(frame):
                        samples = part.to_ndarray()
                        yield position, samples
                        position += samples.shape[1]
            except (av.FFmpegError, ValueError) as error:
                log.warning("the sound of %s is damaged and ends early: %s", self.path, error)


def soundtrack(path: str | Path, *, start_frame: int, num_frames: int, fps: Fraction | float) -> Soundtrack | None:
    """The sound that belongs to frames of a video, read at `fps`; None where the file has none, which the log says.

    Args:
        start_frame: counted at `fps` from the first frame that is shown.

    Raises:
        UserError: not readable as a video.
    """
    path = Path(path)
    with open_video(path) as container:
        if not container.streams.audio:
            log.info("%s has no sound", path)
            return None
        context = container.streams.audio[0].codec_context
        if context is None:
            log.warning("the sound of %s is in a format that is not known here: it is left out", path)
            return None
        rate = context.sample_rate if context.sample_rate in _AAC_RATES else _RATE
        layout = "mono" if context.channels == 1 else "stereo"
    first = float(timestamps(path)[0][0])
    return Soundtrack(path, first + start_frame / float(fps), num_frames / float(fps), rate, layout)


class SoundWriter:
    """Lays a soundtrack under a video that is being written, in step with its frames.

    Args:
        container: that the video's stream was added to already.
    """

    def __init__(self, container: OutputContainer, sound: Soundtrack) -> None:
        self._container, self._sound = container, sound
        self._stream = container.add_stream("aac", rate=sound.rate, layout=sound.layout)
        self._stream.codec_context.bit_rate = _BITS_PER_SECOND
        self._blocks, self._until, self._samples = sound.blocks(), 0.0, 0

    def write_until(self, seconds: float) -> None:
        """Write what sounds before that second of the video."""
        while self._until < seconds and (block := next(self._blocks, None)) is not None:
            self._until, samples = block
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=_FORMAT, layout=self._sound.layout)
            frame.sample_rate, frame.pts, frame.time_base = (
                self._sound.rate,
                self._samples,
                Fraction(1, self._sound.rate),
            )
            self._samples += samples.shape[1]
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the rest."""
        self.write_until(self._sound.seconds)
        if not self._samples:
            log.warning("%s has no sound in this stretch", self._sound.path)
        self._container.mux(self._stream.encode())
