"""Arrays that a user gives beside a subject, one for each of its frames: finding, reading, and cropping as its frames.

Dimensions: F frames, H×W pixels, S the side of the subject's frames.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from src.common.arrays import map_npy, read_npz
from src.common.counting import counted
from src.common.errors import UserError
from src.data.crop import CropBox
from src.media.pictures import IMAGE_SUFFIXES, read_image
from src.media.sources import VIDEO_SUFFIXES
from src.media.video import read_video

ARRAYS = (".npz", ".npy")


@dataclass(frozen=True)
class FrameGeometry:
    """How a subject's frames came from those of its video.

    Attributes:
        size: S in pixels.
        full: (width, height) of the video's frames; None where they are the subject's own.
        box: what was cut out of them; None as above.
    """

    size: int
    full: tuple[int, int] | None = None
    box: CropBox | None = None


def find_beside(root: str | Path, name: str) -> Path | None:
    """What lies under a subject's name: a folder of images, a video, or an array; None: nothing.

    Raises:
        UserError: more than one.
    """
    root = Path(root)
    found = [root / name] if (root / name).is_dir() else []
    found += [path for suffix in (*sorted(VIDEO_SUFFIXES), *ARRAYS) if (path := root / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1]} are both there for {name}: leave one")
    return found[0] if found else None


def read_stack(path: str | Path, *, keys: tuple[str, ...]) -> tuple[np.ndarray, str]:
    """Read a video, an image, a folder of images or an array.

    Args:
        keys: names of the array in an .npz file, in order of preference.

    Returns:
        (F, H, W, 3) uint8 of a video or folder, the array itself otherwise; and `frames` or the array's name.

    Raises:
        UserError: nothing there, or not readable.
    """
    path = Path(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return read_image(path)[None], "frames"
    if path.suffix not in ARRAYS:
        return read_video(path).frames, "frames"
    if path.suffix == ".npy":
        return map_npy(path), keys[0]
    arrays = read_npz(path)
    name = next((key for key in keys if key in arrays), None)
    if name is None:
        raise UserError(f"{path} holds {', '.join(arrays)}: expected one of {', '.join(keys)}")
    return arrays[name], name


def check_count(found: int, expected: int, *, path: Path, what: str) -> None:
    """Raise a UserError where there are not as many as frames."""
    if found != expected:
        raise UserError(
            f"{path} has {found} {what} where the video has {counted(expected, 'frame')}: give one for each frame"
        )


def as_the_frames(
    image: np.ndarray, geometry: FrameGeometry, *, fill: int | tuple[int, int, int], smooth: bool, what: str
) -> np.ndarray:
    """Bring one array to the subject's frames: as it is where it has their size, cropped where it has the video's.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        fill: value outside the video's frame.
        smooth: interpolate, bicubic; otherwise take the nearest value.
        what: the array, for messages.

    Returns:
        (S, S) or (S, S, 3) uint8.

    Raises:
        UserError: it has another size.
    """
    height, width = image.shape[:2]
    if (width, height) == (geometry.size, geometry.size):
        return image
    if geometry.box is None or (width, height) != geometry.full:
        sizes = f"{geometry.size}x{geometry.size} as the subject's frames"
        sizes += "" if geometry.full is None else f", or {geometry.full[0]}x{geometry.full[1]} as the video's"
        raise UserError(f"{what} is {width}x{height} pixels: expected {sizes}")
    box = geometry.box
    cut = np.empty((box.height, box.width, *image.shape[2:]), np.uint8)
    cut[:] = fill
    left, top = max(box.left, 0), max(box.top, 0)
    part = image[top : min(box.top + box.height, height), left : min(box.left + box.width, width)]
    cut[top - box.top : top - box.top + part.shape[0], left - box.left : left - box.left + part.shape[1]] = part
    resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(cut).resize((geometry.size, geometry.size), resample))
