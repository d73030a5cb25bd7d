"""Pictures and folders of them, read within limits.

Dimensions: H x W pixels, C = 3 channels in RGB order, uint8.
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from src.common.counting import counted
from src.common.errors import UserError, explained, in_one_line
from src.common.files import natural_key
from src.common.reading import MEBIBYTE, read_bytes
from src.media.sources import IMAGE_SUFFIXES, MAX_FRAMES, MAX_PIXELS, check_pixels, over_black

MAX_IMAGE_BYTES = 512 * MEBIBYTE
_PNG, _ANIMATION = b"\x89PNG\r\n\x1a\n", (b"acTL", b"fcTL", b"fdAT")
# Pillow's filters by which frames are brought to another size, as settings name them.
Resize = Literal["bicubic", "lanczos", "bilinear"]
# Pillow goes by content alone, and hands PostScript under any name to Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder, in any order; hidden ones, such as macOS's `._1.png`, are none."""
    with in_one_line(folder, "read"):
        return [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]


def list_images(folder: str | Path) -> list[Path]:
    """The images of a folder in natural order ("2.png" before "10.png").

    Raises:
        UserError: there is none, or more than `MAX_FRAMES`.
    """
    found = images_in(Path(folder))
    if not 0 < len(found) <= MAX_FRAMES:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(
            f"the folder {folder} holds {counted(len(found), 'image') if found else f'no images ({kinds})'}"
        )
    return sorted(found, key=lambda path: natural_key(path.name))


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as (H, W, 3), turned as its EXIF orientation says, on black where it is transparent.

    Raises:
        ResourceError: it cannot be read.
        UserError: it is no picture, or too large.
    """
    data = without_animation(read_bytes(path, max_bytes=MAX_IMAGE_BYTES))
    with _opened(data, str(path)) as picture:
        see_through = _see_through(picture)
    with in_one_line(path, "read"):
        try:
            image = _over_black(data, Path(path)) if see_through else decoded(data)
        except Exception as error:
            raise explained(error, path, "read") or UserError(f"{path} is not a readable image: {error}") from error
    return np.ascontiguousarray(image)


def decoded(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """(H, W, 3) in RGB of one encoded picture, turned as its EXIF orientation says; alpha is neither applied nor kept.

    Args:
        data: without an animation.
        flags: of OpenCV's decoder, which say of what type the samples are.

    Raises:
        ValueError: it is damaged; else whatever the decoders meet.
    """
    if data[:4] == b"RIFF":
        # OpenCV, which is quicker, turns no WebP.
        with contextlib.suppress(UnidentifiedImageError), warnings.catch_warnings(action="ignore"):
            picture = Image.open(io.BytesIO(data), formats=("WEBP",))
            if _is_turned(picture):
                return np.asarray(upright(picture).convert("RGB"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise ValueError("it is damaged")
    return image[..., ::-1]


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF orientation says."""
    # Turns a TIFF, whose tag is gone then.
    picture.load()
    return ImageOps.exif_transpose(picture) if _is_turned(picture) else picture


def _over_black(data: bytes, path: Path) -> np.ndarray:
    with warnings.catch_warnings(action="ignore"), _opened(data, str(path)) as picture:
        return over_black(np.asarray(upright(picture).convert("RGBA")), f"pictures in {path.parent}")


def _see_through(picture: Image.Image) -> bool:
    # Pillow cannot apply the one grey of 16 bits that a PNG may say is transparent.
    return picture.has_transparency_data and not picture.mode.startswith("I")


def _is_turned(picture: Image.Image) -> bool:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # of any kind, of broken tags, which turn nothing
        return False


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
    with _opened(data, where) as picture:
        return picture.size


def _opened(data: bytes, where: str) -> Image.Image:
    """A picture whose header is read and checked; raises what `check_image` says."""
    try:
        with warnings.catch_warnings():
            # Of broken tags, which matter here as little as the tags.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(f"{where} has more than the {MAX_PIXELS} pixels that are read: scale it down") from None
    except Exception as error:
        # Pillow's readers of headers raise what they meet.
        raise UserError(f"{where} is not a readable image: expected {', '.join(FORMATS)}") from error
    check_pixels(where, *picture.size)
    return picture
