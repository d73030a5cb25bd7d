"""Which clips are to be scored, and how both sides pair up; reads no pixels (see `eval.scoring.reading`).

Clips pair by their names. A clip that the user names directly and that is called like its role (`generated`, `real`,
`frames`, ...) has no name, and pairs with the single clip of the other side.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from src.common.digests import arrays_sha256
from src.common.errors import UserError, in_one_line
from src.common.reading import check_encoding
from src.media.pictures import IMAGE_SUFFIXES
from src.media.sources import VIDEO_SUFFIXES
from src.pose.keypoints import PoseSequence

ROLES = frozenset({"generated", "real", "frames", "held_out", "video", "prediction", "truth", "gt"})
Pairing = Literal["name", "order"]
# Folders in one another on the way to a clip.
MAX_DEPTH = 6


@dataclass(frozen=True)
class ClipPaths:
    """Where a clip's frames are: a file or a folder of images each; None: not given.

    Attributes:
        pairing: of its frames, by the numbers in their names or by their order.
    """

    name: str
    generated: Path
    real: Path | None
    reference: Path | None
    poses: Path | None = None
    pairing: Pairing = "name"


@dataclass(frozen=True, eq=False)
class ScoredClip:
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

    @cached_property
    def real_sha256(self) -> str | None:
        """Of the real frames: names them in the manifest, and what is kept of them; taken once."""
        return None if self.real is None else arrays_sha256(self.real)


def find_clips(
    generated: Path | Sequence[Path],
    real: Path | Sequence[Path] | None,
    reference: Path | None = None,
    poses: Path | None = None,
    *,
    pairing: Pairing = "name",
) -> list[ClipPaths]:
    """Pair up the clips of both sides.

    A side is a file (a video, or an image, animated or not), a folder of images (one clip), a folder of videos or of
    such folders (a clip each), or a list of any. Folders may be nested, as by subject and video: a clip is then called
    by its way there, `anna/dance`. A folder with a folder `frames` in it, as sampling writes, stands for that one.

    Args:
        reference: an image for all clips, or a folder of images named like the clips.
        poses: keypoints of the real frames (.npz) for a single clip, or a folder of such named like the clips.
        pairing: `name`: clips pair by name, and their frames by number; `order`: a single clip pairs with a single
            one and frames pair as they come, whatever they are called.

    Raises:
        UserError: nothing there, a folder of mixed content, a link to nothing, or clips without a partner.
    """
    clips = _side(generated, "generated")
    reals = _side(real, "real") if real is not None else dict.fromkeys(clips)
    if len(clips) == len(reals) == 1 and (pairing == "order" or _nameless(clips) or _nameless(reals)):
        reals = dict(zip(clips, reals.values(), strict=True))
    if set(clips) != set(reals):
        alone = ", ".join(sorted(set(clips) - set(reals))) or "none"
        missing = ", ".join(sorted(set(reals) - set(clips))) or "none"
        advice = "; if these two belong together all the same: pairing=order" if len(clips) == len(reals) == 1 else ""
        raise UserError(
            f"generated and real clips must have the same names: only in generated: {alone}; only in real: "
            f"{missing}{advice}"
        )
    references = _beside(reference, list(clips), "reference", IMAGE_SUFFIXES)
    keypoints = _beside(poses, list(clips), "poses", frozenset({".npz"}))
    if poses is not None and not Path(poses).is_dir() and len(clips) > 1:
        raise UserError(f"poses={poses} is one file for {len(clips)} clips: give a folder of <clip>.npz")
    return [
        ClipPaths(name, path, reals[name], references[name], keypoints[name], pairing) for name, path in clips.items()
    ]


def files_of(clips: Sequence[ClipPaths]) -> dict[str, dict[str, str | None]]:
    """Absolute paths by clip, for the report's videos."""
    sides = {clip.name: {"generated": clip.generated, "real": clip.real} for clip in clips}
    return {
        name: {side: None if path is None else str(path.resolve()) for side, path in paths.items()}
        for name, paths in sides.items()
    }


def _nameless(clips: Mapping[str, Path | None]) -> bool:
    """Whether the clips are no more than what stands on the command line, called like their role."""
    return all(name.lower() in ROLES for name in clips)


def _side(paths: Path | Sequence[Path], side: str) -> dict[str, Path]:
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise UserError(f"{side} names no clip: give a video, a folder of frames, or a folder of either")
    clips: dict[str, Path] = {}
    for path in given:
        for name, clip in _clips_in(Path(path), side, ()):
            check_encoding([clip])
            if name in clips:
                raise UserError(f"two {side} clips are called {name}: {clips[name]} and {clip}")
            clips[name] = clip
    return clips


def _clips_in(path: Path, side: str, way: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Names and places of the clips at `path`; `way`: the folders that led there from what was given."""
    with in_one_line(path, "read"):
        there = path.exists()
    if not there:
        what = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise UserError(f"{side}={path} {what}: give a video, a folder of frames, or a folder of either")
    if len(way) > MAX_DEPTH:
        raise UserError(f"{side}={path} lies {len(way)} folders deep: give a folder nearer to the clips")
    if path.is_file():
        yield path.stem, path
        return
    own = "/".join(way) or path.name
    if (path / "frames").is_dir():
        yield own, path / "frames"
        return
    visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if broken := [entry for entry in visible if not entry.exists()]:
        raise UserError(f"{broken[0]} is a link to nothing: restore the file that it names, or remove the link")
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
        yield (path.parent.name if not way and path.name == "frames" else own), path
    for video in videos:
        yield "/".join((*way, video.stem)), video
    for folder in folders:
        yield from _clips_in(folder, side, (*way, folder.name))


def _beside(given: Path | None, names: list[str], option: str, suffixes: Collection[str]) -> dict[str, Path | None]:
    """By clip, the file that `option` gives for it: one for all, or one of its name in a folder."""
    if given is None:
        return dict.fromkeys(names)
    path = Path(given)
    if not path.exists():
        raise UserError(f"{option}={path} does not exist: give a file, or a folder of files named like the clips")
    if not path.is_dir():
        return dict.fromkeys(names, path)
    files: dict[str, Path] = {}
    for entry in sorted(path.rglob("*")):
        if entry.suffix.lower() not in suffixes or entry.name.startswith("."):
            continue
        name = entry.relative_to(path).with_suffix("").as_posix()
        if name in files and name in names:
            raise UserError(f"{option}={path} has {files[name].name} and {entry.name} for {name}: leave one of the two")
        files[name] = entry
    lacking = [name for name in names if name not in files]
    if lacking:
        raise UserError(f"{option}={path} has nothing for the clips {', '.join(lacking)}")
    return {name: files[name] for name in names}
