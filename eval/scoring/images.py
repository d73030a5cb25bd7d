"""Images as frames: which of a folder belong together, in what order, and how their samples become 8 bits.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from src.common.arrays import collected, height_width
from src.common.errors import UserError, explained
from src.common.reading import read_bytes
from src.media.sources import MAX_IMAGE_BYTES, check_pixels, without_animation
from src.media.video import IMAGE_SUFFIXES

LOSSLESS_IMAGES = frozenset({".png", ".bmp", ".tif", ".tiff"})
_ALIKE = {".jpeg": ".jpg", ".tiff": ".tif"}


def frame_numbers(folder: Path) -> dict[int, Path]:
    """The images of a folder by the number of their frame, rising.

    Frames of one clip have names that differ in one number alone, so that `ann_1.png` and `bob_1.png`, or
    `cover.png` beside `00001.png`, are not taken for one clip.

    Raises:
        UserError: no image, a link to nothing, several formats, or names that do not say the order of one clip.
    """
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not found:
        raise UserError(f"the folder {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if broken := sorted(path for path in found if not path.exists()):
        raise UserError(f"{broken[0]} is a link to nothing: restore the file that it names, or remove the link")
    formats = sorted({_ALIKE.get(path.suffix.lower(), path.suffix.lower()) for path in found})
    if len(formats) > 1:
        raise UserError(f"{folder} holds {' and '.join(formats)} files: leave one copy of each frame, in one format")
    if len(found) == 1:
        return {0: found[0]}
    parts = {path: re.split(r"([0-9]+)", path.stem) for path in found}
    texts = {tuple(split[::2]) for split in parts.values()}
    first, *_ = sorted(found)
    if len(texts) > 1:
        other = next(path for path in sorted(found) if parts[path][::2] != parts[first][::2])
        raise UserError(
            f"{folder} holds {first.name} and {other.name}, which are no frames of one clip: give each clip a folder "
            "of its own, with names that differ in one number alone"
        )
    numbers = {path: tuple(int(number) for number in split[1::2]) for path, split in parts.items()}
    varying = [place for place, values in enumerate(zip(*numbers.values(), strict=True)) if len(set(values)) > 1]
    if len(varying) != 1:
        raise UserError(
            f"the names in {folder} differ in {len(varying)} numbers ({first.name}, {sorted(found)[-1].name}), so that "
            "they say no order of one clip: give each clip a folder of its own, with one number a frame"
        )
    by_number = {numbers[path][varying[0]]: path for path in found}
    if len(by_number) < len(found):
        raise UserError(f"{folder} holds two images of one number: {first.name} and others; leave one of each")
    return dict(sorted(by_number.items()))


def read_images(paths: list[Path]) -> np.ndarray:
    """(F, H, W, 3) uint8 of images that have one size, of many on disk (`collected`).

    Raises:
        UserError: unreadable, animated, of several sizes, or of samples that no rule brings to 8 bits.
    """
    size = height_width(_read_frame(paths[0]))

    def frames() -> Iterator[np.ndarray]:
        for path in paths:
            frame = _read_frame(path)
            if height_width(frame) != size:
                raise UserError(
                    f"{path} is {frame.shape[1]}x{frame.shape[0]} pixels where {paths[0].name} is "
                    f"{size[1]}x{size[0]}: all frames of a clip must have one size"
                )
            yield frame

    return collected(frames(), len(paths), size)


def _read_frame(path: Path) -> np.ndarray:
    data, count = _opened(path)
    if count > 1:
        raise UserError(f"{path} holds {count} pictures: a frame is one; give the file itself to score all of them")
    return _decoded(data, path)


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of one image.

    Integers of 16 bits are scaled by 255 / 65535 and rounded, floating point in [0, 1] by 255.

    Raises:
        UserError: unreadable, too large, not finite, or floating point outside [0, 1].
    """
    return _decoded(_opened(path)[0], path)


def to_8_bits(image: np.ndarray, name: str) -> np.ndarray:
    """uint8 of samples of 8 bits, of 16, or of floating point in [0, 1].

    Raises:
        UserError: any other samples, NaN among them.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.rint(image.astype(np.float64) * (255 / 65535)).astype(np.uint8)
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"{name} has samples of {image.dtype}: give 8 or 16 bits without sign, or floating point")
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise UserError(
            f"{name} has floating-point samples from {np.nanmin(image):.3g} to {np.nanmax(image):.3g}"
            f"{', and some that are not finite' if not np.isfinite(image).all() else ''}: they must lie in [0, 1]"
        )
    return np.rint(image.astype(np.float64) * 255).astype(np.uint8)


def read_pictures(path: Path) -> np.ndarray:
    """(F, H, W, 3) uint8: every picture of an image file, such as an animated PNG or WebP or a TIFF of several pages.

    Raises:
        UserError: unreadable, pictures of several sizes, or ones that are shown for different times.
    """
    data, count = _opened(path)
    if count == 1:
        return _decoded(data, path)[None]
    with _readable(path):
        if path.suffix.lower() in (".tif", ".tiff"):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
            ok, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), flags)
            frames = [to_8_bits(page, str(path))[..., ::-1] for page in pages] if ok else []
        else:
            with Image.open(io.BytesIO(data)) as image:
                pictures = [(np.asarray(f.convert("RGB")), f.info.get("duration")) for f in _frames(image, path)]
            if len({duration for _, duration in pictures}) > 1:
                raise UserError(f"{path} shows its pictures for different times: score a folder of its frames instead")
            frames = [frame for frame, _ in pictures]
    if not frames:
        raise UserError(f"{path} is not a readable image")
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{path} holds pictures of several sizes: all frames of a clip must have one size")
    return np.ascontiguousarray(np.stack(frames))


def _frames(image: Image.Image, path: Path) -> ImageSequence.Iterator:
    # The default picture of an animated PNG may lie outside the animation.
    if getattr(image, "default_image", False):
        raise UserError(f"{path} has a picture outside its animation: score a folder of its frames instead")
    return ImageSequence.Iterator(image)


def _opened(path: Path) -> tuple[bytes, int]:
    """The bytes of an image file, and how many pictures it holds.

    Raises:
        UserError: unreadable, or more pixels than are read.
    """
    data = read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
    try:
        with _readable(path), Image.open(io.BytesIO(data)) as image:
            count = getattr(image, "n_frames", 1)
            check_pixels(path, image.width, image.height * count)
            return data, count
    except UnidentifiedImageError:
        return data, 1  # floating-point images of several channels, which OpenCV reads


def _decoded(data: bytes, path: Path) -> np.ndarray:
    with _readable(path):
        still = np.frombuffer(without_animation(data), np.uint8)
        image = cv2.imdecode(still, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data else None
    if image is None:
        raise UserError(f"{path} is not a readable image")
    return np.ascontiguousarray(to_8_bits(image, str(path))[..., ::-1])


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise whatever the decoders of images meet in a damaged one as a UserError about it."""
    try:
        yield
    except (UserError, UnidentifiedImageError):
        raise
    except Exception as error:
        raise explained(error, path, "read") or UserError(f"{path} is not a readable image: {error}") from error
