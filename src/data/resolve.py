"""From what a user calls `subject` to a `Subject`: a video, a prepared name or a rendered person."""

import difflib
import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from src.common.errors import UserError
from src.common.paths import choices
from src.common.reading import read_yaml
from src.data.crop import frame_size
from src.data.prepare import Recipe, content_sha256, prepare_subject
from src.data.rendered import SEEDS, people_subject
from src.data.settings import DataSettings
from src.data.subject import ClipSettings, Subject, check_prompt, load_subject, read_record, resized
from src.media.sources import VIDEO_SUFFIXES
from src.pose.extractors.base import PoseExtractor

log = logging.getLogger(__name__)
# Fields of `DataSettings` that say what of a video is taken, and how.
OF_A_CLIP = ("start", "max_frames", "fps", "aspect", "crop")


def resolve_subject(
    subject: str,
    *,
    clip: ClipSettings,
    root: str | Path,
    extractor: Callable[[], PoseExtractor],
    prompt: str | None = None,
    smaller: bool = False,
) -> Subject:
    """Find, render or prepare a subject at `clip.resolution`.

    A name stands for the prepared subject `<root>/<name>` or for a rendered person (people_001 ... people_012),
    anything else for a video file or a folder of images, which is prepared under the name of the file unless
    that was done before. A subject prepared at a higher resolution is shrunk. Nothing prepared is replaced.

    Args:
        subject: name or path.
        clip: what of a video is taken, and how.
        extractor: builds the pose extractor; called only for a video.
        prompt: the source prompt; None: the subject's own.
        smaller: see `known_subject`.

    Raises:
        UserError: unknown subject, with the known ones closest to it; and all that preparing raises.
    """
    if not subject.strip():
        # It would stand for the working directory.
        raise UserError("no name is given: expected a video file, a folder of images or the name of a known subject")
    check_prompt(prompt)
    found = known_subject(subject, clip=clip, root=root, smaller=smaller)
    if found is not None:
        return replace(found, prompt=prompt) if prompt else found
    if not Path(subject).exists():
        raise UserError(_unknown(subject, root))
    return resolve_video(subject, clip=clip, root=root, extractor=extractor, prompt=prompt)


def known_subject(
    subject: str,
    *,
    clip: ClipSettings,
    root: str | Path,
    size: tuple[int, int] | None = None,
    smaller: bool = False,
) -> Subject | None:
    """A prepared subject or a rendered person at `clip.resolution`, all of it; None: no such is known.

    Args:
        size: (height, width) of the frames that it is to be fitted into: what shrinking does not bring to these stays
            as it was prepared, for shrinking could cut it.
        smaller: take one that was prepared at a lower resolution as it is, where poses are looked at and no pixels.

    Raises:
        UserError: it is damaged, or prepared at too low a resolution.
    """
    path, own = Path(subject), Path(root) / subject
    prepared, lies_there = ((folder / "subject.yaml").exists() for folder in (own, path))
    other = not path.samefile(own) if prepared and path.exists() else subject in SEEDS and not lies_there
    if path.name == subject and path.exists() and other:
        known = f"the subject prepared in {own}" if prepared else "the rendered person"
        log.info("%s: %s; what lies here under that name is ./%s", subject, known, subject)
    if path.name == subject and prepared:
        return _shrunk(load_subject(subject, root), clip.resolution, size, smaller=smaller)
    if lies_there:
        return _shrunk(load_subject(path.name, path.parent), clip.resolution, size, smaller=smaller)
    return people_subject(subject, resolution=clip.resolution) if subject in SEEDS else None


def _shrunk(subject: Subject, resolution: int, size: tuple[int, int] | None, *, smaller: bool) -> Subject:
    height, width = subject.size
    resolution = min(resolution, subject.resolution) if smaller else resolution
    whole = size is not None and size != frame_size("source", resolution, width=width, height=height)
    return subject if whole and resolution < subject.resolution else resized(subject, resolution)


def resolve_video(
    video: str | Path,
    *,
    clip: ClipSettings,
    root: str | Path,
    extractor: Callable[[], PoseExtractor],
    prompt: str | None = None,
) -> Subject:
    """Prepare what lies at a path, whatever subject is called like it; arguments are those of `resolve_subject`.

    What was prepared of it with other settings stays, and this is prepared beside it.

    Raises:
        UserError: no video there; and all that preparing raises.
    """
    name = default_name(Path(video), root)
    recipe = Recipe(clip=clip, extractor=extractor(), root=root, prompt=prompt)
    return prepare_subject(video, recipe, name=name, replace=False)


def followed(data: DataSettings, subject: Subject) -> set[str]:
    """Which of the settings of a clip a subject that is prepared already or rendered is like, whatever they say."""
    made = subject.provenance["settings"]
    height, width = subject.size
    full = subject.provenance.get("frame_size", {"width": width, "height": height})
    like = {
        "start": data.start == 0,
        "max_frames": data.max_frames is not None and data.max_frames >= len(subject),
        "fps": data.fps == float(subject.fps),
        "aspect": data.aspect != "auto" and frame_size(data.aspect, subject.resolution, **full) == subject.size,
    }
    return {key for key in OF_A_CLIP if like.get(key) or getattr(data, key) == made.get(key)}


def as_it_is(subject: Subject) -> str:
    """Why a subject does not follow the settings of a clip."""
    if subject.rendered:
        return "rendered people are as they are"
    return "it was prepared before; name its video, or prepare it again with python -m src.prepare"


def without_effect(data: DataSettings, follows: Collection[str], on: str, others: Sequence[str] = ()) -> str | None:
    """What was given of the settings of a clip and does nothing, in words; None: nothing.

    Args:
        follows: of `OF_A_CLIP` what does something.
        on: what it has no effect on, and why.
        others: settings besides that were given and do nothing, as `key=value`.
    """
    default = DataSettings()
    given = [key for key in OF_A_CLIP if getattr(data, key) != getattr(default, key)]
    told = [*(f"data.{key}={getattr(data, key)}" for key in given if key not in follows), *others]
    return f"{', '.join(told)}: no effect on {on}" if told else None


def known_subjects(root: str | Path) -> list[str]:
    """Names of the prepared and of the rendered subjects."""
    prepared = [path.parent.name for path in Path(root).glob("*/subject.yaml") if path.parent.name[0] != "."]
    return sorted(prepared) + list(SEEDS)


def default_name(video: Path, root: str | Path) -> str:
    """The name under which a video is prepared when none is given: its own, made unique by its content.

    Raises:
        UserError: no video there.
    """
    stem = (video.name if video.is_dir() else video.stem) or video.resolve().name
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-._")[:60] or "clip"
    # Taken on the command line: by rendered people, and for none.
    if re.fullmatch(r"people_[0-9]+|(?i:null)", name):
        name = f"{name}-video"
    digest = content_sha256(video)
    if (Path(root) / name / "subject.yaml").exists():
        owner = read_record(Path(root) / name)["source"]["sha256"]
        if owner != digest:
            name = f"{name}-{digest[:6]}"
            log.info("another clip is called %s already: %s is prepared as %s", stem, video, name)
    return name


def _unknown(subject: str, root: str | Path) -> str:
    # Of the people all that there are resolve by themselves.
    files = {choice: path for choice, path in choices("dataset").items() if choice != "people"}
    datasets = {(read_yaml(path) or {}).get("name", choice): choice for choice, path in files.items()}
    if (member := re.fullmatch(r"(\w+)_[0-9]{3}", subject)) and member[1] in datasets:
        return (
            f"{subject} of the data set {member[1]} is not prepared in {root}: "
            f"run python -m src.prepare dataset={datasets[member[1]]} first"
        )
    if Path(subject).suffix.lower() in VIDEO_SUFFIXES or Path(subject).name != subject:
        return f"no video at {subject}: expected a video file, a folder of images or the name of a known subject"
    known = known_subjects(root)
    close = difflib.get_close_matches(subject, known, n=len(known), cutoff=0.4)
    ordered = close + [name for name in known if name not in close]
    return (
        f"unknown subject {subject}; known, closest first: {', '.join(ordered[:15])}"
        f"{', ...' if len(ordered) > 15 else ''}; or give a video file or a folder of images"
    )
