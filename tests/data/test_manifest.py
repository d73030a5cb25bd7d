"""A data set prepared as a whole."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from src.app.entry import settings_of
from src.common.digests import sha256
from src.common.errors import UserError
from src.data.datasets.base import Dataset, DatasetClip, Unavailable
from src.data.manifest import manifest_path, prepare_dataset
from src.data.prepare import Recipe
from src.data.resolve import resolve_subject
from src.data.subject import ClipSettings
from src.media.video import write_frames
from src.pose.extractors.base import PoseExtractor
from src.pose.extractors.settings import FileSettings
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.prepare import PrepareSettings
from src.prepare import prepare as prepare_clips
from tests.data.datasets.helpers import random_clips, write_split

SETTINGS = ClipSettings(resolution=16)


class Centre(PoseExtractor):
    """Every keypoint in the middle, in as many frames as there are; counts how often it is asked."""

    name = "centre"

    def __init__(self) -> None:
        self.calls = 0

    def fingerprint(self) -> str:
        return "centre"

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        self.calls += 1
        seen = np.ones((sum(1 for _ in frames), NUM_KEYPOINTS), bool)
        return PoseSequence(np.full((*seen.shape, 2), 0.5), seen, seen)


class Listed(Dataset):
    """Folders of frames by length; a negative length is a clip that is gone, 0 one that cannot be read."""

    name, num_published_clips = "some", 5

    def __init__(self, root: Path, lengths: list[int]) -> None:
        self.root, self.lengths = root, lengths

    def clips(self) -> list[DatasetClip]:
        return [self._clip(number, length) for number, length in enumerate(self.lengths, 1)]

    def _clip(self, number: int, length: int) -> DatasetClip:
        def fetch() -> Path:
            if length < 0:
                raise Unavailable("taken down")
            rng = np.random.default_rng(number)
            write_frames(self.root / str(number), rng.integers(0, 256, (length, 16, 16, 3), np.uint8))
            return self.root / str(number)

        return DatasetClip(f"some_{number:03d}", {"number": number}, fetch, fps=25.0)


def run(tmp_path: Path, lengths: list[int], extractor: PoseExtractor | None = None, only: list[str] | None = None):
    return prepare_dataset(
        Listed(tmp_path / "clips", lengths),
        Recipe(extractor=extractor or Centre(), clip=SETTINGS, root=tmp_path / "data"),
        num_test=3,
        only=only,
    )


def test_what_cannot_be_had_is_listed_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    result = run(tmp_path, [4, -1, 0, 3])
    assert list(result.subjects) == ["some_001", "some_004"] and result.complete == "2 of 5"
    assert result.absent == {"some_002": "taken down"}
    assert list(result.failed) == ["some_003"] and "holds no images" in result.failed["some_003"]
    manifest = json.loads(manifest_path(tmp_path / "data", "some").read_text())
    assert manifest["num_published_clips"] == 5 and manifest["complete"] == "2 of 5"
    assert {key: manifest[key] for key in ("subjects", "absent", "failed")} == {
        "subjects": result.subjects,
        "absent": result.absent,
        "failed": result.failed,
    }
    first = manifest["subjects"]["some_001"]
    assert first["frames"] == 4 and first["held_out"] == [1, 4] and first["fps"] == 25
    assert first["frames_sha256"] == sha256(tmp_path / "data/some_001/frames.npy")
    assert manifest["subjects"]["some_004"]["held_out"] is None, "too short to hold out 3 frames"
    assert first["frames_sha256"] != manifest["subjects"]["some_004"]["frames_sha256"]


def test_two_at_once_that_prepare_other_subjects_leave_both_in_the_manifest(tmp_path: Path) -> None:
    class Slow(Centre):
        def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
            run(tmp_path, lengths, only=["some_002", "some_003", "some_004"])
            return super().extract(frames, total=total)

    lengths = [4, 3, -1, 0]
    run(tmp_path, lengths, Slow(), only=["some_001"])
    manifest = json.loads(manifest_path(tmp_path / "data", "some").read_text())
    assert list(manifest["subjects"]) == ["some_001", "some_002"] and manifest["complete"] == "2 of 5"
    assert list(manifest["absent"]) == ["some_003"] and list(manifest["failed"]) == ["some_004"]


def test_the_whole_of_clips_of_ones_own_is_all_that_are_listed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Listed, "num_published_clips", None)
    part = run(tmp_path, [4, 3, 0], only=["some_002"])
    manifest = json.loads(manifest_path(tmp_path / "data", "some").read_text())
    assert part.expected == 3 and part.complete == manifest["complete"] == "1 of 3"


def test_a_link_in_place_of_the_lock_of_a_manifest_is_refused(tmp_path: Path) -> None:
    lock, theirs = tmp_path / "data/.locks/some.manifest.json", tmp_path / "theirs"
    lock.parent.mkdir(parents=True)
    theirs.mkdir()
    lock.symlink_to(theirs)
    with pytest.raises(UserError, match="some.manifest.json is a link"):
        run(tmp_path, [4])
    assert not list(theirs.iterdir())


def test_a_prepared_name_is_a_subject(tmp_path: Path) -> None:
    run(tmp_path, [4])
    subject = resolve_subject("some_001", clip=SETTINGS, root=tmp_path / "data", extractor=Centre)
    assert len(subject) == 4 and subject.fps == 25
    with pytest.raises(UserError, match="python -m src.prepare dataset=ted"):
        resolve_subject("ted_001", clip=SETTINGS, root=tmp_path / "data", extractor=Centre)


def test_a_second_run_changes_nothing_and_a_part_keeps_the_rest(tmp_path: Path) -> None:
    extractor = Centre()
    run(tmp_path, [4, 3], extractor)
    path = manifest_path(tmp_path / "data", "some")
    before = path.read_text()
    run(tmp_path, [4, 3], extractor)
    part = run(tmp_path, [4, 3], extractor, only=["some_002"])
    assert path.read_text() == before and extractor.calls == 2
    assert list(part.subjects) == ["some_002"] and part.complete == "1 of 5"
    with pytest.raises(UserError, match="subjects=some_007: the data set some has some_001 to some_002 here"):
        run(tmp_path, [4, 3], only=["some_007"])


NO_SUBJECTS = [{"some_001": {}}, {"some_001": {"source": 1}}, {"some_001": None}, []]


@pytest.mark.parametrize(
    "content",
    [[], {}, *({"subjects": subjects} for subjects in NO_SUBJECTS), {"subjects": {}, "failed": {"some_001": 1}}],
)
def test_a_manifest_that_is_none_is_refused_before_anything_is_prepared(tmp_path: Path, content) -> None:
    path = manifest_path(tmp_path / "data", "some")
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    extractor = Centre()
    with pytest.raises(UserError, match="is no manifest: move it away"):
        run(tmp_path, [4, 3], extractor, only=["some_002"])
    assert extractor.calls == 0


def test_nothing_at_all_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no clip of the data set some .* some_002: .*holds no images.*1 more"):
        run(tmp_path, [-1, 0])


@pytest.fixture
def prepare(compose_config):
    def run(*overrides: str):
        return prepare_clips(settings_of(PrepareSettings, compose_config("prepare", "pose=file", *overrides)))

    return run


def test_the_command_prepares_a_data_set(prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(tmp_path / "tsv", random_clips([2, 3]))
    options = ("dataset=tiktok", f"dataset.root={tmp_path}/tsv", f"data.root={tmp_path}/data", "data.resolution=16")
    with pytest.raises(UserError, match=r"no clip of the data set tiktok .*pose.path"):
        prepare(*options)
    monkeypatch.setattr(FileSettings, "build", lambda settings: Centre())
    result = prepare(*options)
    assert list(result.subjects) == ["tiktok_001", "tiktok_002"] and result.complete == "2 of 10"
    assert result.subjects["tiktok_002"]["source"] == {"split": "val", "clip": "Custom_001", "rows": [2, 4]}


def test_video_and_dataset_exclude_each_other(prepare) -> None:
    with pytest.raises(UserError, match="nothing to prepare"):
        prepare()
    with pytest.raises(UserError, match="leave out video= and name="):
        prepare("dataset=people", "video=x.mp4")


@pytest.mark.parametrize("name", ["tiktok", "ted", "folder", "youtube", "people"])
def test_every_data_set_composes(prepare, name: str, tmp_path: Path) -> None:
    given = {"ted": [f"dataset.clips={tmp_path}"], "people": []}.get(name, [f"dataset.root={tmp_path}"])
    options = (f"dataset={name}", f"data.root={tmp_path}/data", *given)
    if name == "people":
        assert prepare(*options).complete == "12 of 12"
        return
    with pytest.raises(UserError, match="holds no clip"):
        prepare(*options)
