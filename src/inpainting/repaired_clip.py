"""The whole clip put together again, every good frame as it was.

Dimensions: L frames of a segment and its good neighbours, h×w pixels of the generated frames; RGB uint8.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from src.common.arrays import Frames, MadeFrames, height_width, picked
from src.data.crop import CropBox
from src.data.subject import Subject
from src.inpainting.blending import background, blend_in_time, paste_feathered
from src.inpainting.segments import Segment
from src.media.contact_sheet import Row, contact_sheet, evenly_spaced
from src.media.reencode import MP4_SUFFIXES, replace_frames
from src.media.video import VideoReader, write_frames, write_video

_COLUMNS = 10  # of the contact sheet


def frames_at(reader: VideoReader, wanted: Collection[int]) -> dict[int, np.ndarray]:
    """Frames by their numbers, in the video's own size; it is read once, and no further than the last of them."""
    return {f: frame for f, frame in enumerate(islice(reader, max(wanted) + 1)) if f in wanted}


class RepairedFrames(Mapping[int, np.ndarray]):
    """Repaired frames by number, in the video's own size, each made when it is looked at: there may be thousands."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Frames, int]] = {}

    def __getitem__(self, number: int) -> np.ndarray:
        frames, index = self._made[number]
        return frames[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def add(
        self,
        full: Mapping[int, np.ndarray],
        subject: Subject,
        segment: Segment,
        generated_LhwC: Frames,
        blend_frames: int,
    ) -> None:
        """The frames of a segment.

        Args:
            full: the video's frames, at least the good neighbours of the segment.
        """
        beside = segment.before, segment.after
        at = {f: i for i, f in enumerate(segment.generated)}
        good_before, good_after = (None if f is None else full[f] for f in beside)
        differences = (
            None if f is None else subject.frames[f].astype(np.float32) - generated_LhwC[at[f]] for f in beside
        )
        bad = picked(generated_LhwC, [at[f] for f in segment.bad])
        patches = blend_in_time(bad, *differences, blend_frames=blend_frames)
        box = CropBox(**subject.provenance["crop_box"])

        def pasted(index: int) -> np.ndarray:
            behind = background(good_before, good_after, (index + 1) / (len(patches) + 1))
            return paste_feathered(behind, patches[index], box)

        good = next(frame for frame in (good_before, good_after) if frame is not None)
        frames = MadeFrames(pasted, len(patches), height_width(good))
        self._made |= {f: (frames, i) for i, f in enumerate(segment.bad)}


def write_repaired(reader: VideoReader, repaired: Mapping[int, np.ndarray], folder: Path, crf: int) -> Path:
    """Write the whole clip as lossless frames, as video, and the repaired frames beside the old ones."""

    def frames() -> Iterator[np.ndarray]:
        return (repaired.get(f, frame) for f, frame in enumerate(reader))

    write_frames(folder / "frames", frames())
    if reader.path.is_dir():
        output = folder / "repaired.mp4"
        write_video(output, frames(), reader.fps, crf=max(crf, 1))
    else:
        output = folder / f"repaired{'.mp4' if reader.path.suffix.lower() in MP4_SUFFIXES else '.mkv'}"
        replace_frames(reader.path, output, repaired, crf=crf)
    numbers = sorted(repaired)
    # No more of them than are shown: a long segment of a large video takes gigabytes.
    shown = [numbers[i] for i in evenly_spaced(len(numbers), _COLUMNS)]
    old = np.stack(list(frames_at(reader, shown).values()))
    new = np.stack([repaired[f] for f in shown])
    contact_sheet([Row("original", old), Row("repaired", new)], folder / "contact_sheet.png", columns=_COLUMNS)
    return output
