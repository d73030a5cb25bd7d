"""Clips into memory, and what could falsify their numbers.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.

Nothing is resized, cut or replaced silently. Videos are read as `src.media.video` reads them; one whose frames a
decoder would repeat or drop is refused, and loss by compression and colours that the file does not declare are said.
"""

import logging
from pathlib import Path

import numpy as np
from PIL import Image

from eval.scoring.clips import ClipPaths, ScoredClip
from eval.scoring.images import LOSSLESS_IMAGES, frame_numbers, number_of, read_image, read_images, read_pictures
from src.common.arrays import collected
from src.common.counting import counted
from src.common.errors import UserError
from src.media.pictures import IMAGE_SUFFIXES
from src.media.sources import open_video
from src.media.video import VideoReader, read_video
from src.pose.formats import load_poses

log = logging.getLogger(__name__)

LOSSLESS_CODECS = frozenset({"ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "png", "apng", "qtrle", "magicyuv"})
_UNKNOWN_MATRIX, _UNKNOWN_RANGE = 2, 0  # "unspecified" of ITU-T H.273 and of FFmpeg
LISTED = 5


def read_clip(
    paths: ClipPaths, *, resolution: int | None = None, resize: str | None = None, to_real: str | None = None
) -> ScoredClip:
    """Read a clip.

    Args:
        resolution, resize: bring the shorter side of both to `resolution` with that Pillow filter, said in the log;
            None: leave them as they are.
        to_real: without a resolution, bring generated frames of another size than the real ones to that with this
            filter, said in the log; None: refuse them.

    Raises:
        UserError: unreadable, or both sides differ in the names, number or size of their frames.
    """
    warnings: list[str] = []
    if paths.pairing == "name":
        _check_numbers(paths)
    generated = read_side(paths.generated, "generated", warnings)
    real = read_side(paths.real, "real", warnings) if paths.real is not None else None
    if real is not None and len(generated) != len(real):
        raise UserError(
            f"clip {paths.name}: {counted(len(generated), 'generated frame')} ({paths.generated}) against {len(real)} "
            f"real ones ({paths.real}): give exactly the frames that belong together"
        )
    if resolution is not None and resize is not None:
        generated = resize_frames(generated, resolution, resize)
        real = resize_frames(real, resolution, resize) if real is not None else None
    elif to_real is not None and real is not None and real.shape[1] == real.shape[2]:
        generated = resize_frames(generated, real.shape[1], to_real)
    if real is not None and generated.shape != real.shape:
        alike = _resized_size(generated.shape[1:3], 256) == _resized_size(real.shape[1:3], 256)
        mend = "or name the resizing: protocol.resolution=256 protocol.resize=bicubic"
        raise UserError(
            f"clip {paths.name}: generated frames of {_size(generated)} against real ones of {_size(real)}: score "
            f"equal sizes, {mend if alike else 'cropped to one shape, which no resizing changes'}"
        )
    reference = None if paths.reference is None else read_image(paths.reference)
    poses = None if paths.poses is None else load_poses(paths.poses)
    if poses is not None and len(poses) != len(generated):
        raise UserError(
            f"clip {paths.name}: {counted(len(generated), 'frame')} against {counted(len(poses), 'pose')} in "
            f"{paths.poses}"
        )
    return ScoredClip(paths.name, generated, real, reference, tuple(warnings), poses)


def resize_frames(frames_FHWC: np.ndarray, size: int, resize: str, *, said: bool = True) -> np.ndarray:
    """Resize the shorter side to `size` with Pillow's antialiased filter of that name, 8-bit; the shape stays.

    Args:
        said: in the log.

    >>> resize_frames(np.zeros((1, 96, 64, 3), np.uint8), 32, "bicubic").shape
    (1, 48, 32, 3)
    """
    height, width = frames_FHWC.shape[1:3]
    shorter = min(height, width)
    if shorter == size:
        return frames_FHWC
    wanted = _resized_size((height, width), size)
    if said:
        log.info("resizing frames of %s to %dx%d (%s)", _size(frames_FHWC), *wanted[::-1], resize)
    kind = Image.Resampling[resize.upper()]
    resized = (np.asarray(Image.fromarray(frame).resize((wanted[1], wanted[0]), kind)) for frame in frames_FHWC)
    return collected(resized, len(frames_FHWC), wanted)


def _resized_size(size: tuple[int, ...], shorter: int) -> tuple[int, int]:
    height, width = (round(side * shorter / min(size)) for side in size)
    return height, width


def _check_numbers(paths: ClipPaths) -> None:
    """Refuse folders whose frames do not pair by number.

    Raises:
        UserError: lists the frames without a partner.
    """
    if paths.real is None or not paths.generated.is_dir() or not paths.real.is_dir():
        return
    generated, real = frame_numbers(paths.generated), frame_numbers(paths.real)
    if len(generated) == len(real) == 1 and None in map(number_of, (*generated.values(), *real.values())):
        return
    alone = [generated[number].name for number in generated if number not in real]
    missing = [real[number].name for number in real if number not in generated]
    if alone or missing:
        advice = "; if they pair as they come: pairing=order" if len(generated) == len(real) else ""
        raise UserError(
            f"clip {paths.name}: {counted(len(generated), 'generated frame')} against {len(real)} real ones, which "
            f"must pair by the numbers in their names; only in {paths.generated}: {_listed(alone)}; only in "
            f"{paths.real}: {_listed(missing)}{advice}"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more


def _size(frames_FHWC: np.ndarray) -> str:
    return f"{frames_FHWC.shape[2]}x{frames_FHWC.shape[1]}"


def read_side(path: Path, side: str, warnings: list[str]) -> np.ndarray:
    """(F, H, W, 3) uint8: one side of a clip, of its own size.

    Args:
        warnings: takes what a reader of the numbers must know about these files, which `side` are.

    Raises:
        UserError: unreadable, or not to be scored as it is.
    """
    if path.is_dir():
        numbered = frame_numbers(path)
        suffix = next(iter(numbered.values())).suffix.lower()
        if suffix not in LOSSLESS_IMAGES:
            warnings.append(f"{side} frames in {path} are {suffix} files, which {_loss(suffix)} detail")
        steps = np.diff(list(numbered))
        if len(set(steps.tolist())) > 1:
            warnings.append(f"{side} frames in {path} are not numbered evenly: steps of {steps.min()} to {steps.max()}")
        frames_FHWC, lost = read_images(list(numbered.values()))
        warnings += [f"{side} frames in {path} {what}" for what in sorted(lost)]
        return frames_FHWC
    if path.suffix.lower() in IMAGE_SUFFIXES | {".apng"}:
        if path.suffix.lower() not in LOSSLESS_IMAGES | {".apng"}:
            suffix = path.suffix.lower()
            warnings.append(f"{side} {path} is a {suffix} file, which {_loss(suffix, 's')} detail")
        frames_FHWC, lost = read_pictures(path)
        warnings += [f"{side} pictures of {path} {what}" for what in sorted(lost)]
        return frames_FHWC
    reader = VideoReader(path)
    shown_F = reader.repeats
    if (shown_F != 1).any():
        raise UserError(
            f"{path} has a variable frame rate: at a constant one {int((shown_F == 0).sum())} of its frames are "
            f"dropped and {int((shown_F > 1).sum())} repeated; score a folder of its frames instead"
        )
    warnings += [f"{side} {path} {what}" for what in _doubts(path)]
    return read_video(path).frames


def _loss(suffix: str, ending: str = "") -> str:
    return "may lose" if suffix == ".webp" else f"lose{ending}"


def _doubts(path: Path) -> list[str]:
    """What of a video's coding a reader of the numbers must know."""
    with open_video(path) as container:
        context = container.streams.video[0].codec_context
        codec, format_ = context.codec.canonical_name, context.pix_fmt or "unknown format"
        matrix, range_ = int(context.colorspace), int(context.color_range)
    rgb = format_.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal"))
    doubts = []
    if codec == "gif":
        doubts.append("is coded with a palette of 256 colours: score the frames that were made, not a re-encoding")
    elif codec not in LOSSLESS_CODECS:
        doubts.append(f"is coded with {codec}, which loses detail: score the frames that were made, not a re-encoding")
    elif not rgb:
        doubts.append(
            f"is coded with {codec} in {format_}, which does not keep RGB exactly: score the frames that were made"
        )
    if not rgb and not format_.startswith("gray"):
        full = format_.startswith("yuvj")
        unsaid = ["matrix (BT.601 is assumed)"] if matrix == _UNKNOWN_MATRIX else []
        unsaid += ["range (limited is assumed)"] if range_ == _UNKNOWN_RANGE and not full else []
        if unsaid:
            doubts.append(f"does not declare its colour {' and '.join(unsaid)}")
    return doubts
