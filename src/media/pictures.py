"""Pictures and folders of them, read within limits.

Dimensions: H x W pixels, C = 3 channels in RGB order, uint8.
"""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from src.common.errors import UserError, explained, in_one_line
from src.common.files import natural_key
from src.common.reading import MEBIBYTE, read_bytes
from src.media.sources import MAX_FRAMES, MAX_PIXELS, check_pixels

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
MAX_IMAGE_BYTES = 512 * MEBIBYTE
_PNG, _ANIMATION = b"\x89PNG\r\n\x1a\n", (b"acTL", b"fcTL", b"fdAT")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def list_images(folder: str | Path) -> list[Path]:
    """The images of a folder in natural order ("2.png" before "10.png").

    Raises:
        UserError: there is none, or more than `MAX_FRAMES`.
    """
    folder = Path(folder)
    with in_one_line(folder, "read"):
        found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not 0 < len(found) <= MAX_FRAMES:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"the folder {folder} holds {f'{len(found)} images' if found else f'no images ({kinds})'}")
    return sorted(found, key=lambda path: natural_key(path.name))


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as (H, W, 3), turned as its EXIF orientation says.

    Raises:
        ResourceError: it cannot be read.
        UserError: it is no picture, or too large.
    """
    data = read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
    check_image(data, str(path))
    with in_one_line(path, "read"):
        try:
            image = cv2.imdecode(np.frombuffer(without_animation(data), np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise explained(error, path, "read") or UserError(f"{path} is not a readable image: {error}") from error
    if image is None:
        raise UserError(f"{path} is not a readable image: it is damaged")
    return np.ascontiguousarray(image[..., ::-1])


def without_animation(data: bytes) -> bytes:
    """An encoded picture, of an animated PNG the default one alone: OpenCV's decoder crashes in damaged animations."""
    if not data.startswith(_PNG) or not any(kind in data for kind in _ANIMATION):
        return data
    kept, start = [_PNG], len(_PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] not in _ANIMATION:
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


def check_image(data: bytes, where: str) -> tuple[int, int]:
    """Width and height of an encoded picture; reads only its header.

    Raises:
        UserError: it is of no known format, or too large.
    """
    try:
        with warnings.catch_warnings():
            # Of broken tags, which matter here as little as the tags.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(f"{where} has more than the {MAX_PIXELS} pixels that are read: scale it down") from None
    except Exception as error:
        # Pillow's readers of headers raise what they meet.
        raise UserError(f"{where} is not a readable image: expected {', '.join(_FORMATS)}") from error
    check_pixels(where, width, height)
    return width, height
