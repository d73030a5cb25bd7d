"""Images as frames: which of a folder belong together, in what order, and how their samples become 8 bits.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order.
"""

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from src.common.errors import UserError
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
    """(F, H, W, 3) uint8 of images that have one size.

    Raises:
        UserError: unreadable, animated, of several sizes, or of samples that no rule brings to 8 bits.
    """
    frames: list[np.ndarray] = []
    for path in paths:
        if (count := _num_pictures(path)) > 1:
            raise UserError(f"{path} holds {count} pictures: a frame is one; give the file itself to score all of them")
        frame = read_image(path)
        if frames and frame.shape != frames[0].shape:
            raise UserError(
                f"{path} is {frame.shape[1]}x{frame.shape[0]} pixels where {paths[0].name} is "
                f"{frames[0].shape[1]}x{frames[0].shape[0]}: all frames of a clip must have one size"
            )
        frames.append(frame)
    return np.stack(frames)


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of one image.

    Integers of 16 bits are scaled by 255 / 65535 and rounded, floating point in [0, 1] by 255.

    Raises:
        UserError: unreadable, not finite, or floating point outside [0, 1].
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if len(data) else None
    if image is None:
        raise UserError(f"{path} is not a readable image")
    return np.ascontiguousarray(to_8_bits(image, str(path))[..., ::-1])


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
    if _num_pictures(path) == 1:
        return read_image(path)[None]
    if path.suffix.lower() in (".tif", ".tiff"):
        ok, pages = cv2.imreadmulti(str(path), flags=cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if not ok:
            raise UserError(f"{path} is not a readable image")
        frames = [to_8_bits(page, str(path))[..., ::-1] for page in pages]
    else:
        with Image.open(path) as image:
            pictures = [(np.asarray(frame.convert("RGB")), frame.info.get("duration")) for frame in _frames(image)]
        if len({duration for _, duration in pictures}) > 1:
            raise UserError(f"{path} shows its pictures for different times: score a folder of its frames instead")
        frames = [frame for frame, _ in pictures]
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{path} holds pictures of several sizes: all frames of a clip must have one size")
    return np.ascontiguousarray(np.stack(frames))


def _frames(image: Image.Image) -> ImageSequence.Iterator:
    # The default picture of an animated PNG may lie outside the animation.
    if getattr(image, "default_image", False):
        name = getattr(image, "filename", "the image")
        raise UserError(f"{name} has a picture outside its animation: score a folder of its frames instead")
    return ImageSequence.Iterator(image)


def _num_pictures(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except UnidentifiedImageError:
        return 1  # floating-point images of several channels, which OpenCV reads
    except OSError as error:
        raise UserError(f"{path} is not a readable image: {error}") from error
