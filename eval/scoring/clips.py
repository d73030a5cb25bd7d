"""Frames to be scored: which clips there are, how they pair up, and what could falsify the numbers.

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order, uint8.

Reading is `src.media.video`'s. What matters for scoring is added here: files that were compressed with loss are
warned about, a video whose frames a decoder would repeat or drop is refused, and so is everything that does not
pair exactly. Nothing is resized, cut or replaced silently.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from src.common.errors import UserError
from src.media.video import IMAGE_SUFFIXES, VideoReader, read_video
from src.pose.formats import load_poses
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".gif", ".apng"})
LOSSLESS_CODECS = frozenset({"ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "png", "apng", "qtrle", "magicyuv"})
LOSSLESS_IMAGES = frozenset({".png", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class ClipPaths:
    """Where a clip's frames are: a video file or a folder of images each; None: not given."""

    name: str
    generated: Path
    real: Path | None
    reference: Path | None
    poses: Path | None = None


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip to be scored.

    Attributes:
        generated: (F, H, W, 3) uint8 RGB.
        real: the same shape, or None.
        reference: (H', W', 3) uint8 RGB, or None.
        poses: of the real frames, or None.
        warnings: what a reader of the numbers must know about these files.
    """

    name: str
    generated: np.ndarray
    real: np.ndarray | None
    reference: np.ndarray | None
    warnings: tuple[str, ...] = ()
    poses: PoseSequence | None = None


def find_clips(
    generated: str | Path | Sequence[str | Path],
    real: str | Path | Sequence[str | Path] | None,
    reference: str | Path | None,
    poses: str | Path | None = None,
) -> list[ClipPaths]:
    """Pair up the clips of both sides, reading no pixels.

    A side is a video file, a folder of images (one clip), a folder of videos or of such folders (a clip each), or a
    list of any. A folder with a folder `frames` in it, as sampling writes, stands for that one. A single clip pairs
    with a single one whatever their names, several pair by name (without suffix).

    Args:
        reference: an image for all clips, or a folder of images named like the clips.
        poses: keypoints of the real frames (.npz) for a single clip, or a folder of such named like the clips.

    Raises:
        UserError: nothing there, a folder of mixed content, or clips without a partner.
    """
    clips = _side(generated, "generated")
    reals = _side(real, "real") if real is not None else dict.fromkeys(clips)
    if len(clips) == len(reals) == 1:
        reals = dict(zip(clips, reals.values(), strict=True))
    if set(clips) != set(reals):
        alone = ", ".join(sorted(set(clips) - set(reals))) or "none"
        missing = ", ".join(sorted(set(reals) - set(clips))) or "none"
        raise UserError(
            f"generated and real clips must have the same names: only in generated: {alone}; only in real: {missing}"
        )
    references = _beside(reference, list(clips), "reference", IMAGE_SUFFIXES)
    keypoints = _beside(poses, list(clips), "poses", frozenset({".npz"}))
    if poses is not None and not Path(poses).is_dir() and len(clips) > 1:
        raise UserError(f"poses={poses} is one file for {len(clips)} clips: give a folder of <clip>.npz")
    return [ClipPaths(name, path, reals[name], references[name], keypoints[name]) for name, path in clips.items()]


def read_clip(paths: ClipPaths, *, resolution: int | None, resize: str | None) -> Clip:
    """Read a clip.

    Args:
        resolution, resize: bring both sides to `resolution` squared with that Pillow filter, said in the log;
            None: leave them as they are.

    Raises:
        UserError: unreadable, or both sides differ in the number or size of their frames.
    """
    warnings: list[str] = []
    generated = _read(paths.generated, "generated", warnings)
    real = _read(paths.real, "real", warnings) if paths.real is not None else None
    if real is not None and len(generated) != len(real):
        raise UserError(
            f"clip {paths.name}: {len(generated)} generated frames ({paths.generated}) against {len(real)} real ones "
            f"({paths.real}): give exactly the frames that belong together"
        )
    if resolution is not None and resize is not None:
        generated = resize_frames(generated, resolution, resize)
        real = resize_frames(real, resolution, resize) if real is not None else None
    if real is not None and generated.shape != real.shape:
        raise UserError(
            f"clip {paths.name}: generated frames of {_size(generated)} against real ones of {_size(real)}: score "
            "equal sizes, or name the resizing: protocol.resolution=256 protocol.resize=bicubic"
        )
    reference = None
    if paths.reference is not None:
        reference = np.asarray(_open_image(paths.reference).convert("RGB"))
    poses = None if paths.poses is None else load_poses(paths.poses)
    if poses is not None and len(poses) != len(generated):
        raise UserError(f"clip {paths.name}: {len(generated)} frames against {len(poses)} poses in {paths.poses}")
    return Clip(paths.name, generated, real, reference, tuple(warnings), poses)


def resize_frames(frames_FHWC: np.ndarray, size: int, resize: str) -> np.ndarray:
    """Resize to `size` squared with Pillow's antialiased filter of that name, 8-bit.

    Raises:
        UserError: the frames are not square, so that they would be distorted.
    """
    if frames_FHWC.shape[1] != frames_FHWC.shape[2]:
        raise UserError(f"frames of {_size(frames_FHWC)} are not square: crop them before they are resized to {size}")
    if frames_FHWC.shape[1] == size:
        return frames_FHWC
    log.info("resizing frames of %s to %dx%d (%s)", _size(frames_FHWC), size, size, resize)
    kind = Image.Resampling[resize.upper()]
    return np.stack([np.asarray(Image.fromarray(frame).resize((size, size), kind)) for frame in frames_FHWC])


def _size(frames_FHWC: np.ndarray) -> str:
    return f"{frames_FHWC.shape[2]}x{frames_FHWC.shape[1]}"


def _side(paths: str | Path | Sequence[str | Path], side: str) -> dict[str, Path]:
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise UserError(f"{side} names no clip: give a video, a folder of frames, or a folder of either")
    clips: dict[str, Path] = {}
    for path in given:
        for clip in _clips_in(Path(path), side):
            folder = clip.parent if clip.name == "frames" else clip
            name = folder.name if clip.is_dir() else clip.stem
            if name in clips:
                raise UserError(f"two {side} clips are called {name}: {clips[name]} and {clip}")
            clips[name] = clip
    return clips


def _clips_in(path: Path, side: str) -> Iterator[Path]:
    if not path.exists():
        raise UserError(f"{side}={path} does not exist: give a video, a folder of frames, or a folder of either")
    if path.is_file():
        yield path
        return
    if (path / "frames").is_dir():
        yield path / "frames"
        return
    visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    images = [entry for entry in visible if entry.suffix.lower() in IMAGE_SUFFIXES]
    videos = [entry for entry in visible if entry.is_file() and entry.suffix.lower() in VIDEO_SUFFIXES]
    folders = [entry for entry in visible if entry.is_dir()]
    kinds = [name for name, found in (("images", images), ("videos", videos), ("folders", folders)) if found]
    if len(kinds) != 1:
        raise UserError(
            f"{side}={path} holds {' and '.join(kinds) or 'neither images nor videos'}: give a folder of frames, or "
            "one whose videos or folders are a clip each"
        )
    if images:
        yield path
    else:
        yield from videos or (folder / "frames" if (folder / "frames").is_dir() else folder for folder in folders)


def _beside(
    given: str | Path | None, names: list[str], option: str, suffixes: Collection[str]
) -> dict[str, Path | None]:
    """By clip, the file that `option` gives for it: one for all, or one of its name in a folder."""
    if given is None:
        return dict.fromkeys(names)
    path = Path(given)
    if not path.is_dir():
        return dict.fromkeys(names, path)
    files = {entry.stem: entry for entry in path.iterdir() if entry.suffix.lower() in suffixes}
    lacking = [name for name in names if name not in files]
    if lacking:
        raise UserError(f"{option}={path} has nothing for the clips {', '.join(lacking)}")
    return {name: files[name] for name in names}


def _read(path: Path, side: str, warnings: list[str]) -> np.ndarray:
    if path.is_dir():
        lossy = {image.suffix.lower() for image in path.iterdir()} & (IMAGE_SUFFIXES - LOSSLESS_IMAGES)
        if lossy:
            warnings.append(f"{side} frames in {path} are {', '.join(sorted(lossy))} files, which lose detail")
        return read_video(path).frames
    reader = VideoReader(path)
    shown_F = reader.repeats
    if (shown_F != 1).any():
        raise UserError(
            f"{path} has a variable frame rate: at a constant one {int((shown_F == 0).sum())} of its frames are "
            f"dropped and {int((shown_F > 1).sum())} repeated; score a folder of its frames instead"
        )
    codec = _codec(path)
    if codec not in LOSSLESS_CODECS:
        detail = "a palette of 256 colours" if codec == "gif" else f"{codec}, which loses detail"
        warnings.append(f"{side} {path} is coded with {detail}: score the frames that were made, not a re-encoding")
    return np.stack(list(reader))


def _codec(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.codec.canonical_name


def _open_image(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
        return image
    except OSError as error:
        raise UserError(f"reference={path} is not a readable image: {error}") from error
