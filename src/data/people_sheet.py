"""A picture of everybody who was found in a clip, numbered, so that `pose.person` can be chosen.

Dimensions: H x W pixels, RGB uint8.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.media.contact_sheet import Row, contact_sheet, evenly_spaced
from src.pose.tracking import Crowd

_SHOWN_FRAMES, _SHORT_SIDE = 6, 360
_CHOSEN, _OTHER = (30, 200, 90), (230, 60, 60)


def people_sheet(frames: Iterable[np.ndarray], crowd: Crowd, path: Path) -> None:
    """Write frames of the clip in which several people are seen, each in a box with their number.

    Args:
        frames: (H, W, 3), of the whole clip, read once.
        crowd: more than one person; the followed one is boxed in green, the others in red.
        path: of the picture.
    """
    together = [frame for frame in range(_length(crowd)) if sum(frame in found for found in crowd.boxes) > 1]
    candidates = together or sorted({min(found) for found in crowd.boxes})
    shown = {candidates[index] for index in evenly_spaced(len(candidates), _SHOWN_FRAMES)}
    drawn = [_boxed(frame, crowd, index) for index, frame in enumerate(frames) if index in shown]
    caption = f"pose.person={crowd.chosen} is followed; frames {', '.join(map(str, sorted(shown)))}"
    contact_sheet([Row("people", np.stack(drawn))], path, cell=_SHORT_SIDE, columns=_SHOWN_FRAMES, caption=caption)


def _length(crowd: Crowd) -> int:
    return 1 + max(max(found) for found in crowd.boxes)


def _boxed(frame_HWC: np.ndarray, crowd: Crowd, index: int) -> np.ndarray:
    scale = _SHORT_SIDE / frame_HWC.shape[0]
    size = (max(round(frame_HWC.shape[1] * scale), 1), _SHORT_SIDE)
    image = Image.fromarray(frame_HWC).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=22)
    # The followed one last, over the others.
    order = sorted(range(len(crowd.boxes)), key=lambda number: number == crowd.chosen)
    for number in order:
        if (box := crowd.boxes[number].get(index)) is None:
            continue
        left, top, right, bottom = (box * [*size, *size]).round().tolist()
        colour = _CHOSEN if number == crowd.chosen else _OTHER
        draw.rectangle((left, top, max(right, left), max(bottom, top)), outline=colour, width=3)
        label = draw.textbbox((left + 4, top + 2), str(number), font=font)
        draw.rectangle((label[0] - 4, label[1] - 2, label[2] + 4, label[3] + 2), fill=colour)
        draw.text((left + 4, top + 2), str(number), (255, 255, 255), font=font)
    return np.asarray(image)
