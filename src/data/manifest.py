"""A whole data set prepared, with a manifest that says which clips, which frames of them, and their checksums.

data/<data set>.manifest.json
    dataset                 its name
    num_published_clips     how many clips the published results are over, or null
    complete                "3 of 128"
    settings, extractor     how the frames and poses were made
    subjects                by name: source, frames, fps, size, training and held-out frames, checksums
    absent, failed          by name: why a clip is gone, or could not be prepared
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from src.common.counting import counted
from src.common.digests import sha256
from src.common.errors import DamagedFile, UserError
from src.common.files import write_json
from src.common.reading import MEBIBYTE, Limits, read_json
from src.common.writers import only_writer, refuse_links
from src.data.datasets.base import Dataset, DatasetClip, Unavailable
from src.data.prepare import LOCKS, Recipe, content_sha256, prepare_subject
from src.data.rendered import NUM_AVAILABLE, NUM_TEST

CHECKSUMS = ("source_sha256", "frames_sha256", "poses_sha256", "record_sha256")
PARTS = ("subjects", "absent", "failed")
MANIFEST_LIMITS = Limits(max_bytes=256 * MEBIBYTE, max_values=10_000_000)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedDataset:
    """What of a data set is there.

    Attributes:
        name, num_published_clips: see `src.data.datasets.base.Dataset`.
        num_listed: how many clips the data set has here, whether they were asked for or not.
        subjects: by name, the entry of the manifest.
        absent: by name, why the clip is gone.
        failed: by name, why it could not be prepared.
    """

    name: str
    num_published_clips: int | None
    num_listed: int
    subjects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        """How many clips the whole data set has: those that were published, or of clips of one's own those listed."""
        if self.num_published_clips is not None:
            return self.num_published_clips
        # Some may be prepared that are no longer listed.
        return max(self.num_listed, len(self.subjects) + len(self.absent) + len(self.failed))

    @property
    def complete(self) -> str:
        """How much of the whole data set is there: `3 of 128`."""
        return f"{len(self.subjects)} of {self.expected}"


def manifest_path(root: str | Path, dataset: str) -> Path:
    """Where the manifest of a data set lies."""
    return Path(root) / f"{dataset}.manifest.json"


def prepare_dataset(
    dataset: Dataset, recipe: Recipe, *, num_test: int, only: Collection[str] | None = None
) -> PreparedDataset:
    """Prepare every clip that can be had, and write the manifest.

    A clip that is gone or cannot be prepared is listed with its reason and does not stop the others. The manifest is
    written after each clip; clips that are prepared already are not touched.

    Args:
        recipe: `clip.fps` None reads a clip at the data set's rate.
        num_test: held-out frames, for the manifest.
        only: names of the clips to prepare; None: all. The manifest keeps what it says of the others.

    Raises:
        UserError: bad configuration, a name in `only` that is none of the data set's, or not a single clip to be had.
    """
    listed = list(dataset)
    clips = _asked_for(listed, dataset.name, only)
    root, path = Path(recipe.root), manifest_path(recipe.root, dataset.name)
    refuse_links(root, (Path(LOCKS, path.name),))
    before = _read(path)["subjects"]
    result = PreparedDataset(dataset.name, dataset.num_published_clips, len(listed))
    for clip in clips:
        try:
            result.subjects[clip.name] = _prepared(clip, recipe, num_test, before.get(clip.name, {}))
        except Unavailable as error:
            log.warning("%s is gone: %s", clip.name, error)
            result.absent[clip.name] = str(error)
        except UserError as error:
            # Without a network it would be the same line for every clip.
            level = logging.DEBUG if str(error) in result.failed.values() else logging.WARNING
            log.log(level, "%s is not prepared: %s", clip.name, error)
            result.failed[clip.name] = str(error)
        # Another process may be at work on others of them.
        with only_writer(root / LOCKS / path.name, wait=True):
            write_json(path, _manifest(_with_others(result, path, only), recipe))
    if not result.subjects:
        reasons = {**result.failed, **result.absent}
        name, reason = next(iter(reasons.items()))
        more = f" ({len(reasons) - 1} more: see {path})" if len(reasons) > 1 else ""
        raise UserError(f"no clip of the data set {dataset.name} could be prepared; {name}: {reason}{more}")
    log.info("data set %s: %s subjects are prepared; manifest: %s", dataset.name, result.complete, path)
    return result


def _asked_for(listed: Sequence[DatasetClip], dataset: str, only: Collection[str] | None) -> list[DatasetClip]:
    clips = [clip for clip in listed if only is None or clip.name in only]
    if unknown := sorted(set(only or ()) - {clip.name for clip in clips}):
        names = [clip.name for clip in listed]
        raise UserError(
            f"subjects={','.join(unknown)}: the data set {dataset} has {names[0]} to {names[-1]} here, "
            f"{counted(len(names), 'clip')}"
        )
    return clips


def _manifest(result: PreparedDataset, recipe: Recipe) -> dict[str, Any]:
    rendered = all("rendered" in entry["source"] for entry in result.subjects.values())
    made = {} if rendered else {"extractor": recipe.extractor.fingerprint(), "settings": asdict(recipe.clip)}
    head = {"dataset": result.name, "num_published_clips": result.num_published_clips, "complete": result.complete}
    return {**head, **made, "subjects": result.subjects, "absent": result.absent, "failed": result.failed}


def _prepared(clip: DatasetClip, recipe: Recipe, num_test: int, before: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare a clip; its lines in the manifest, where checksums of files that did not change are those of `before`."""
    if clip.fetch is None:
        return {"source": dict(clip.source), **_frames(NUM_AVAILABLE + NUM_TEST, NUM_TEST)}
    video, fps = clip.fetch(), clip.fps if recipe.clip.fps is None else recipe.clip.fps
    subject = prepare_subject(video, replace(recipe, clip=replace(recipe.clip, fps=fps)), name=clip.name)
    folder = Path(recipe.root) / clip.name
    record = sha256(folder / "subject.yaml")
    if before.get("record_sha256") == record and all(key in before for key in CHECKSUMS):
        checksums = {key: str(before.get(key)) for key in CHECKSUMS}
    else:
        sums = (content_sha256(video), sha256(folder / "frames.npy"), subject.poses.sha256(), record)
        checksums = {key: str(value) for key, value in zip(CHECKSUMS, sums, strict=True)}
    size = {"fps": float(subject.fps), "resolution": subject.resolution}
    return {"source": dict(clip.source), **_frames(len(subject), num_test), **size, **checksums}


def _frames(num_frames: int, num_test: int) -> dict[str, Any]:
    """How many frames there are and which are held out, [first, end) with the end not included.

    A clip too short for that is split by the number of training frames (`src.data.split`): None.
    """
    return {
        "frames": num_frames,
        "held_out": [num_frames - num_test, num_frames] if 0 < num_test < num_frames else None,
    }


def _with_others(result: PreparedDataset, path: Path, only: Collection[str] | None) -> PreparedDataset:
    """With what the manifest says of the clips that are not asked for, sorted by name."""
    parts = {}
    for part, known in _read(path).items():
        kept = {} if only is None else {name: entry for name, entry in known.items() if name not in only}
        parts[part] = dict(sorted({**kept, **getattr(result, part)}.items()))
    return replace(result, **parts)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What a manifest says of its clips, by part and name; nothing where there is none."""
    if not path.exists():
        return {part: {} for part in PARTS}
    manifest = read_json(path, MANIFEST_LIMITS)
    values = {"absent": {}, "failed": {}, **manifest} if isinstance(manifest, dict) else {}
    found = {}
    for part in PARTS:
        found[part] = entries = values.get(part)
        if not isinstance(entries, dict) or not all(_is_entry(part, entry) for entry in entries.values()):
            raise DamagedFile(f"{path} is no manifest: move it away, and preparing the data set writes it again")
    return found


def _is_entry(part: str, entry: Any) -> bool:
    if part == "subjects":
        return isinstance(entry, dict) and isinstance(entry.get("source"), dict)
    return isinstance(entry, str)
