"""Images as frames: which of a folder belong together, in what order, and how their samples become 8 bits.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence, TiffImagePlugin, UnidentifiedImageError

from src.common.arrays import collected, height_width
from src.common.errors import UserError, explained
from src.common.reading import read_bytes
from src.media.pictures import (
    FORMATS,
    IMAGE_SUFFIXES,
    MAX_IMAGE_BYTES,
    decoded,
    images_in,
    upright,
    without_animation,
)
from src.media.sources import check_pixels

LOSSLESS_IMAGES = frozenset({".png", ".bmp", ".tif", ".tiff"})
_PNG, _PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24
_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259  # tags of TIFF
_LOSSY_TIFF = frozenset({6, 7, 34676, 34677, 34892, 50001})  # JPEG, LogLuv, lossy JPEG of DNG, WebP
_ALIKE = {".jpeg": ".jpg", ".tiff": ".tif"}


def frame_numbers(folder: Path) -> dict[int, Path]:
    """The images of a folder by the number of their frame, rising.

    Frames of one clip have names that differ in one number alone, so that `ann_1.png` and `bob_1.png`, or
    `cover.png` beside `00001.png`, are not taken for one clip.

    Raises:
        UserError: no image, a link to nothing, several formats, or names that do not say the order of one clip.
    """
    found = images_in(folder)
    if not found:
        raise UserError(f"the folder {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if broken := sorted(path for path in found if not path.exists()):
        raise UserError(f"{broken[0]} is a link to nothing: restore the file that it names, or remove the link")
    formats = sorted({_ALIKE.get(path.suffix.lower(), path.suffix.lower()) for path in found})
    if len(formats) > 1:
        raise UserError(f"{folder} holds {' and '.join(formats)} files: leave one copy of each frame, in one format")
    if len(found) == 1:
        return {number_of(found[0]) or 0: found[0]}
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


def number_of(path: Path) -> int | None:
    """The last number in a file's name, that of its frame where it stands alone; None: there is none."""
    numbers = re.findall(r"[0-9]+", path.stem)
    return int(numbers[-1]) if numbers else None


def read_images(paths: list[Path]) -> tuple[np.ndarray, set[str]]:
    """(F, H, W, 3) uint8 of images that have one size, of many on disk (`collected`), and what their files lost.

    Raises:
        UserError: unreadable, animated, transparent, of several sizes, or of samples that no rule brings to 8 bits.
    """
    lost: set[str] = set()
    first = _read_frame(paths[0], lost)
    size = height_width(first)

    def frames() -> Iterator[np.ndarray]:
        yield first
        for path in paths[1:]:
            frame = _read_frame(path, lost)
            if height_width(frame) != size:
                raise UserError(
                    f"{path} is {frame.shape[1]}x{frame.shape[0]} pixels where {paths[0].name} is "
                    f"{size[1]}x{size[0]}: all frames of a clip must have one size"
                )
            yield frame

    return collected(frames(), len(paths), size), lost


def _read_frame(path: Path, lost: set[str]) -> np.ndarray:
    opened = _opened(path)
    if opened.count > 1:
        raise UserError(
            f"{path} holds {opened.count} pictures: a frame is one; give the file itself to score all of them"
        )
    lost |= opened.lost
    return _decoded(opened.data, path)


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of one image.

    Integers of 16 bits are scaled by 255 / 65535 and rounded, floating point in [0, 1] by 255.

    Raises:
        UserError: unreadable, too large, animated, transparent, not finite, or floating point outside [0, 1].
    """
    opened = _opened(path)
    if opened.count > 1:
        raise UserError(f"{path} holds {opened.count} pictures where one is wanted: save the one that is meant alone")
    return _decoded(opened.data, path)


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
        finite = image[np.isfinite(image)]
        found = f"from {finite.min():.3g} to {finite.max():.3g}" if finite.size else "of which none is finite"
        some = ", and some that are not finite" if 0 < finite.size < image.size else ""
        raise UserError(f"{name} has floating-point samples {found}{some}: they must lie in [0, 1]")
    return np.rint(image.astype(np.float64) * 255).astype(np.uint8)


def read_pictures(path: Path) -> tuple[np.ndarray, set[str]]:
    """(F, H, W, 3) uint8: every picture of an image file, such as an animated PNG or WebP or a TIFF of several pages.

    Beside them what the file lost.

    Raises:
        UserError: unreadable, transparent, pictures of several sizes, or ones that are shown for different times.
    """
    opened = _opened(path)
    if opened.count == 1:
        return _decoded(opened.data, path)[None], opened.lost
    if opened.data.startswith(_PNG) and opened.data[_PNG_DEPTH] > 8:
        raise UserError(
            f"{path} is an animation of {opened.data[_PNG_DEPTH]} bits: score a folder of its frames instead"
        )
    with _readable(path), Image.open(io.BytesIO(opened.data), formats=FORMATS) as image:
        pictures = _frames(image, path)
        if path.suffix.lower() in (".tif", ".tiff"):
            for picture in pictures:
                _check_opaque(picture, path)
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
            ok, pages = cv2.imdecodemulti(np.frombuffer(opened.data, np.uint8), flags)
            frames = [to_8_bits(page, str(path))[..., ::-1] for page in pages] if ok else []
        else:
            frames, durations = [], set()
            for picture in pictures:
                _check_opaque(picture, path)
                frames.append(np.asarray(upright(picture).convert("RGB")))
                durations.add(picture.info.get("duration"))
            if len(durations) > 1:
                raise UserError(f"{path} shows its pictures for different times: score a folder of its frames instead")
    if not frames:
        raise UserError(f"{path} is not a readable image")
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{path} holds pictures of several sizes: all frames of a clip must have one size")
    return np.ascontiguousarray(np.stack(frames)), opened.lost


def _frames(image: Image.Image, path: Path) -> ImageSequence.Iterator:
    # The default picture of an animated PNG may lie outside the animation.
    if getattr(image, "default_image", False):
        raise UserError(f"{path} has a picture outside its animation: score a folder of its frames instead")
    return ImageSequence.Iterator(image)


@dataclass(frozen=True)
class _Opened:
    """An image file: its bytes, how many pictures it holds, and what of them its coding lost, in words."""

    data: bytes
    count: int
    lost: set[str]


def _opened(path: Path) -> _Opened:
    """Raises UserError where a file is unreadable, its first picture transparent, or larger than what is read."""
    data = read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
    lost = {"are compressed with loss"} if _tiff_tag(data, _COMPRESSION) in _LOSSY_TIFF else set()
    try:
        with _readable(path), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            count = getattr(image, "n_frames", 1)
            check_pixels(path, image.width, image.height * count)
            _check_opaque(image, path)
            if image.mode in ("P", "PA"):
                lost.add("have a palette of 256 colours at most")
            return _Opened(data, count, lost)
    except UnidentifiedImageError as error:
        # Floating-point images of several channels, which OpenCV reads.
        width, height = _tiff_tag(data, _WIDTH), _tiff_tag(data, _HEIGHT)
        if width is None or height is None:
            raise UserError(f"{path} is not a readable image: expected {', '.join(FORMATS)}") from error
        check_pixels(path, width, height)
        return _Opened(data, 1, lost)


def _check_opaque(image: Image.Image, path: Path) -> None:
    # What is behind a transparent pixel has no colour that everybody agrees on.
    see_through = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if see_through and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise UserError(f"{path} has transparent pixels, whose colour is not said: lay it on its background first")


def _tiff_tag(data: bytes, tag: int) -> int | None:
    """What the first page of a TIFF says of itself; None: it is none, does not say it, or is damaged."""
    if data[:2] not in (b"II", b"MM"):
        return None
    file = io.BytesIO(data)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if 43 in data[2:4] else 8))  # 43: BigTIFF
        file.seek(tags.next)
        tags.load(file)
        return int(tags[tag])
    except Exception:  # any kind, of what anybody may have written; the decoders then say what is wrong
        return None


def _decoded(data: bytes, path: Path) -> np.ndarray:
    with _readable(path):
        image = decoded(without_animation(data), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return np.ascontiguousarray(to_8_bits(image, str(path)))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise whatever the decoders of images meet in a damaged one as a UserError about it."""
    try:
        yield
    except (UserError, UnidentifiedImageError):
        raise
    except Exception as error:
        raise explained(error, path, "read") or UserError(f"{path} is not a readable image: {error}") from error
