"""Subjects are prepared once, found again, and never mixed up."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from src.common.digests import digest
from src.common.errors import UserError
from src.common.typed import typed
from src.data.prepare import Recipe, prepare_subject
from src.data.rendered import NUM_AVAILABLE, NUM_TEST, SEEDS, people_subject
from src.data.resolve import known_subjects, resolve_subject
from src.data.settings import DataSettings
from src.data.split import split_frames
from src.data.subject import DEFAULT_PROMPT, ClipSettings, Subject, load_subject, resized
from src.media.video import write_frames, write_video
from src.pose.extractors.base import FileExtractor, PoseExtractor
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from tests.media.test_video import displayed_by

SETTINGS = ClipSettings(resolution=32)
CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"


class BrightestSpot(PoseExtractor):
    """Marks the brightest pixel of each frame as every keypoint; counts how often it is run."""

    name = "spot"

    def __init__(self, version: str = "1") -> None:
        self.version, self.runs = version, 0

    def fingerprint(self) -> str:
        return f"spot {self.version}"

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        self.runs += 1
        points = []
        for frame in frames:
            y, x = np.unravel_index(frame.sum(-1).argmax(), frame.shape[:2])
            points.append([(x + 0.5) / frame.shape[1], (y + 0.5) / frame.shape[0]])
        xy = np.repeat(np.array(points, np.float32)[:, None], NUM_KEYPOINTS, 1)
        return PoseSequence(xy, np.ones(xy.shape[:2]), np.ones(xy.shape[:2], bool))


def clip(path: Path, *, count: int = 12, width: int = 80, height: int = 48, shade: int = 40) -> Path:
    """A grey clip in which a white square walks to the right."""
    frames = np.full((count, height, width, 3), shade, np.uint8)
    for i, frame in enumerate(frames):
        frame[20:26, 20 + 2 * i : 26 + 2 * i] = 255
    write_video(path, frames, 10)
    return path


def prepare(video: Path, root: Path, **changes):
    made = {"extractor": BrightestSpot(), "clip": SETTINGS, "root": root}
    other = {key: changes.pop(key) for key in ("name", "replace") if key in changes}
    return prepare_subject(video, Recipe(**made | changes), **{"name": "me"} | other)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clip(tmp_path / "clip.mp4")


def test_frames_and_poses_agree(video, tmp_path):
    subject = prepare(video, tmp_path / "data")
    assert subject.frames.shape == (12, 32, 32, 3) and subject.frames.dtype == np.uint8
    assert len(subject.poses) == 12 and subject.fps == 10 and subject.resolution == 32
    assert subject.prompt == DEFAULT_PROMPT
    for frame, (x, y) in zip(subject.frames, subject.poses.xy[:, 0], strict=True):
        assert frame[int(y * 32), int(x * 32)].min() > 150


def test_prepared_again_gives_the_same_without_work(video, tmp_path, caplog):
    root, extractor = tmp_path / "data", BrightestSpot()
    first = prepare(video, root, extractor=extractor)
    written = (root / "me" / "frames.npy").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        second = prepare(video, root, extractor=extractor)
    assert "prepared already" in caplog.text
    assert extractor.runs == 1 and (root / "me" / "frames.npy").stat().st_mtime_ns == written
    assert np.array_equal(first.frames, second.frames) and np.array_equal(first.poses.xy, second.poses.xy)
    assert prepare(video, root, extractor=extractor, force=True) and extractor.runs == 2


def test_another_resolution_or_crop_needs_no_detector(video, tmp_path, caplog):
    root, extractor = tmp_path / "data", BrightestSpot()
    prepare(video, root, extractor=extractor)
    with caplog.at_level(logging.INFO):
        bigger = prepare(video, root, extractor=extractor, clip=ClipSettings(resolution=40, crop="pad"))
    assert extractor.runs == 1 and bigger.frames.shape == (12, 40, 40, 3)
    assert caplog.text.count("prepared again: resolution 32 -> 40, crop person -> pad") == 1
    prepare(video, root, extractor=BrightestSpot("2"), clip=SETTINGS)
    fresh = BrightestSpot()
    prepare(video, root, extractor=fresh, clip=ClipSettings(resolution=32, start=2, max_frames=5))
    assert fresh.runs == 1 and len(load_subject("me", root)) == 5


def test_other_weights_of_the_same_extractor_are_noticed(video, tmp_path, caplog):
    prepare(video, tmp_path / "data")
    other = BrightestSpot("2")
    with caplog.at_level(logging.INFO):
        prepare(video, tmp_path / "data", extractor=other)
    assert other.runs == 1 and "spot has other settings or weights" in caplog.text


def test_what_was_prepared_of_a_mirrored_video_that_was_read_upside_down_is_made_again(video, tmp_path, caplog):
    """Record and cache of that time said nothing of it; those of other videos are the same as then."""

    def cache_of_then(subject: Subject) -> Path:
        reading = {key: subject.provenance["settings"][key] for key in ("fps", "start", "max_frames")}
        key = digest([1, subject.source, reading, dict(subject.provenance["extractor"])])[:24]
        return root / ".poses" / f"{key}.npz"

    root, extractor = tmp_path / "data", BrightestSpot()
    plain = prepare(video, root, extractor=extractor)
    assert "mirrored" not in (root / "me/subject.yaml").read_text() and cache_of_then(plain).exists()

    selfie = displayed_by(video, tmp_path / "selfie.mp4", -1, 0, 0, 1)
    subject = prepare(selfie, root, name="selfie", extractor=extractor)
    record, now = root / "selfie/subject.yaml", load_poses(root / "selfie/poses.npz")
    for cached in {*(root / ".poses").iterdir()} - {cache_of_then(plain)}:
        cached.unlink()
    record.write_text(record.read_text().replace("  mirrored: true\n", ""))
    save_poses(cache_of_then(subject), PoseSequence(1 - now.xy, now.confidence, now.mask), fps=10, size=(48, 80))
    caplog.set_level(logging.INFO)
    for settings, runs in ((SETTINGS, 3), (ClipSettings(resolution=40), 3), (ClipSettings(resolution=40), 3)):
        caplog.clear()
        subject = prepare(selfie, root, name="selfie", extractor=extractor, clip=settings)
        assert extractor.runs == runs
        for frame, xy in zip(subject.frames, subject.poses.xy[:, 0] * settings.resolution, strict=True):
            assert frame[int(xy[1]), int(xy[0])].min() > 150
        assert ("its video is shown mirrored" in caplog.text) == (settings == SETTINGS)
    assert "prepared already" in caplog.text


def test_a_name_belongs_to_one_clip(video, tmp_path):
    root, other = tmp_path / "data", clip(tmp_path / "other.mp4", shade=90)
    prepare(video, root)
    with pytest.raises(UserError, match=r"name me belongs to another clip, clip\.mp4.*force=true"):
        prepare(other, root)
    prepare(video, root, prompt="the first clip")
    taken_over = prepare(other, root, force=True)
    assert taken_over.provenance["source"]["name"] == "other.mp4"
    assert taken_over.prompt == DEFAULT_PROMPT, "a prompt belongs to its clip"


def test_a_folder_that_is_no_subject_is_left_alone(tmp_path):
    images = tmp_path / "data" / "me"
    write_frames(images, np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="is no prepared subject"):
        prepare(images, tmp_path / "data")
    assert len(list(images.iterdir())) == 4


def test_a_copy_of_the_clip_is_the_same_clip(video, tmp_path):
    extractor = BrightestSpot()
    prepare(video, tmp_path / "data", extractor=extractor)
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(video.read_bytes())
    prepare(copy, tmp_path / "data", extractor=extractor)
    assert extractor.runs == 1


def test_an_edited_prompt_is_honoured(video, tmp_path):
    root = tmp_path / "data"
    prepare(video, root)
    record = root / "me" / "subject.yaml"
    record.write_text(record.read_text().replace(DEFAULT_PROMPT, "a white square, déjà vu"))
    assert load_subject("me", root).prompt == "a white square, déjà vu"
    assert prepare(video, root, clip=ClipSettings(resolution=16)).prompt == "a white square, déjà vu"
    assert prepare(video, root, clip=ClipSettings(resolution=16), prompt="new").prompt == "new"
    assert load_subject("me", root).prompt == "new"
    record.write_text(record.read_text().replace("prompt: new", "prompt: ''"))
    with pytest.raises(UserError, match="must hold a prompt"):
        load_subject("me", root)


def test_the_record_says_where_everything_is_from(video, tmp_path):
    prepare(video, tmp_path / "data")
    record = yaml.safe_load((tmp_path / "data" / "me" / "subject.yaml").read_text())
    assert record["source"]["name"] == "clip.mp4" and len(record["source"]["sha256"]) == 64
    assert record["settings"]["resolution"] == 32 and record["extractor"] == {"name": "spot", "fingerprint": "spot 1"}
    assert record["frame_size"] == {"width": 80, "height": 48} and record["fps"] == "10" and record["num_frames"] == 12
    assert set(record["crop_box"]) == {"left", "top", "width", "height"}
    assert str(tmp_path) not in (tmp_path / "data" / "me" / "subject.yaml").read_text()
    assert (tmp_path / "data" / "me" / "sheet.png").exists()


def test_stopped_in_between_leaves_nothing_half_written(video, tmp_path, monkeypatch):
    root = tmp_path / "data"
    before = prepare(video, root).frames.copy()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("src.data.prepare.contact_sheet", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(video, root, clip=ClipSettings(resolution=16))
    assert np.array_equal(load_subject("me", root).frames, before)
    with pytest.raises(KeyboardInterrupt):
        prepare(video, root, name="you")
    assert sorted(p.name for p in root.iterdir()) == [".locks", ".poses", "me"]


def test_damage_is_said(video, tmp_path):
    root = tmp_path / "data"
    prepare(video, root)
    (root / "me" / "frames.npy").write_bytes(b"")
    with pytest.raises(UserError, match="frames.npy is not readable as an array"):
        load_subject("me", root)
    (root / "me" / "subject.yaml").write_text("version: 99\n")
    with pytest.raises(UserError, match="not of version 2"):
        load_subject("me", root)


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "people_001", "people_77"])
def test_unusable_names(video, tmp_path, name):
    with pytest.raises(UserError, match="name"):
        prepare(video, tmp_path / "data", name=name)


def test_poses_from_a_file_must_fit_the_clip(video, tmp_path):
    poses = BrightestSpot().extract(np.zeros((5, 8, 8, 3), np.uint8))
    save_poses(tmp_path / "five.npz", poses)
    with pytest.raises(UserError, match="5 poses for a clip of 12 frames"):
        prepare(video, tmp_path / "data", extractor=FileExtractor(path=tmp_path / "five.npz"))


def resolve(subject: str, root: Path, extractor: PoseExtractor | None = None, **changes):
    def build() -> PoseExtractor:
        assert extractor is not None, "a known subject needs no extractor"
        return extractor

    return resolve_subject(subject, root=root, extractor=build, **{"clip": SETTINGS, **changes})


def test_resolving_a_video_then_its_name(video, tmp_path):
    root = tmp_path / "data"
    by_path = resolve(str(video), root, BrightestSpot())
    by_name = resolve("clip", root, prompt="other")
    assert by_path.name == by_name.name == "clip" and by_name.prompt == "other"
    assert np.array_equal(by_path.frames, by_name.frames)
    assert resolve(str(root / "clip"), root).name == "clip"
    assert load_subject("clip", root).prompt == DEFAULT_PROMPT, "a run's prompt is not the subject's"


def test_videos_of_one_name_are_kept_apart(video, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    other = clip(tmp_path / "elsewhere" / "clip.mp4", shade=90)
    first, second = (resolve(str(path), tmp_path / "data", BrightestSpot()) for path in (video, other))
    assert first.name == "clip" and second.name.startswith("clip-")
    again = BrightestSpot()
    assert resolve(str(other), tmp_path / "data", again).name == second.name and again.runs == 0


def test_naming_a_video_replaces_nothing_that_is_prepared_of_it(video, tmp_path):
    root, extractor = tmp_path / "data", BrightestSpot()
    prepare(video, root, name="clip", extractor=extractor, prompt="a square")
    few = {"clip": ClipSettings(resolution=16, max_frames=4)}
    beside = resolve(str(video), root, extractor, **few)
    assert len(beside) == 4 and beside.name.startswith("clip-") and beside.prompt == "a square"
    assert len(load_subject("clip", root)) == 12 and load_subject("clip", root).resolution == 32
    runs = extractor.runs
    assert resolve(str(video), root, extractor, **few).name == beside.name and extractor.runs == runs, "found again"
    assert resolve(str(video), root, extractor).name == "clip"
    other = resolve(str(video), root, BrightestSpot("2"))
    assert other.name not in ("clip", beside.name) and load_subject("clip", root).provenance["extractor"] == {
        "name": "spot", "fingerprint": "spot 1",
    }  # fmt: skip
    assert prepare(video, root, name="clip", extractor=extractor, **few).resolution == 16, "src.prepare replaces"
    assert resolve(str(video), root, extractor, **few).name == "clip"


def test_a_prompt_edited_beside_stays(video, tmp_path):
    root, few = tmp_path / "data", {"clip": ClipSettings(resolution=16)}
    prepare(video, root, name="clip")
    name = resolve(str(video), root, BrightestSpot(), **few).name
    record = root / name / "subject.yaml"
    record.write_text(record.read_text().replace(DEFAULT_PROMPT, "edited"))
    assert resolve(str(video), root, BrightestSpot(), **few).prompt == "edited"
    assert load_subject("clip", root).prompt == DEFAULT_PROMPT


def test_a_folder_of_images_is_a_subject(tmp_path):
    write_frames(tmp_path / "shots", np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8))
    subject = resolve(str(tmp_path / "shots"), tmp_path / "data", BrightestSpot())
    assert subject.name == "shots" and subject.frames.shape == (4, 32, 32, 3)


def test_a_prepared_subject_goes_before_a_folder_of_its_name_which_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "shots", np.zeros((4, 32, 32, 3), np.uint8))
    with caplog.at_level(logging.INFO):
        assert len(resolve("shots", Path("data"), BrightestSpot())) == 4
        assert "under that name" not in caplog.text
        write_frames(tmp_path / "shots", np.zeros((5, 32, 32, 3), np.uint8))
        assert len(resolve("shots", Path("data"))) == 4
        note = "shots: the subject prepared in data/shots; what lies here under that name is ./shots"
        assert note in caplog.text
        assert len(resolve("./shots", Path("data"), BrightestSpot())) == 5
        # Another prepared subject lies there, which looks just like the one that is taken.
        Path("raw").mkdir()
        Path("shots").rename("raw/shots")
        resolve("raw/shots", Path("."), BrightestSpot(), clip=ClipSettings(resolution=32, max_frames=3))
        caplog.clear()
        assert len(resolve("shots", Path("data"))) == 4 and note in caplog.text
        caplog.clear()
        # The one that is taken lies there.
        assert len(resolve("shots", Path("."))) == 3
        Path("data/shots").rename("data/other")
        Path("data/shots").symlink_to(tmp_path / "shots")
        assert len(resolve("shots", Path("data"))) == 3
        assert "under that name" not in caplog.text


def test_a_video_whose_name_stands_for_none_on_the_command_line_has_another(video, tmp_path):
    assert resolve(str(video.rename(tmp_path / "Null.mp4")), tmp_path / "data", BrightestSpot()).name == "Null-video"


def test_a_larger_subject_is_shrunk_and_a_smaller_one_refused(video, tmp_path):
    root = tmp_path / "data"
    full = prepare(video, root)
    small = resolve("me", root, clip=ClipSettings(resolution=16))
    assert small.frames.shape == (12, 16, 16, 3) and np.array_equal(small.poses.xy, full.poses.xy)
    with pytest.raises(UserError, match=r"prepared at 32 pixels, too few for 64.*data\.resolution=64"):
        resolve("me", root, clip=ClipSettings(resolution=64))


def test_a_subject_whose_sides_are_cut_off_where_it_is_shrunk_is_told_of(video, tmp_path, caplog):
    prepare(video, tmp_path / "data", clip=ClipSettings(resolution=256, aspect="4:7"))
    assert resolve("me", tmp_path / "data", clip=ClipSettings(resolution=192)).size == (320, 192)
    assert "loses" not in caplog.text
    assert resolve("me", tmp_path / "data", clip=ClipSettings(resolution=128)).size == (256, 128)
    assert "subject me loses 12% of its width for 128x256 pixels: at data.resolution=128" in caplog.text


def test_rendered_people():
    subject = resolve("people_009", Path("nowhere"))
    assert subject.frames.shape == (NUM_AVAILABLE + NUM_TEST, 32, 32, 3) and subject.prompt != DEFAULT_PROMPT
    assert np.array_equal(subject.frames, people_subject("people_009", resolution=32).frames)
    assert len(SEEDS) == 12 and sorted(SEEDS) == [f"people_{i:03d}" for i in range(1, 13)]
    assert split_frames(len(subject), num_train=8, num_test=NUM_TEST).num_available == NUM_AVAILABLE


def test_every_data_set_that_is_configured_is_known_by_its_subjects(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/my_set.yaml").touch()
    monkeypatch.setattr("src.common.paths.CONF_DIR", tmp_path)
    with pytest.raises(UserError, match=r"my_set_001 of the data set my_set is not prepared .* dataset=my_set first"):
        resolve("my_set_001", tmp_path / "data")
    (tmp_path / "dataset/my_set.yaml").write_text("name: mine")
    with pytest.raises(UserError, match=r"mine_001 of the data set mine is not prepared .* dataset=my_set first"):
        resolve("mine_001", tmp_path / "data")
    with pytest.raises(UserError, match=r"^unknown subject my_set_001"):
        resolve("my_set_001", tmp_path / "data")


def test_unknown_subjects_are_told_what_there_is(video, tmp_path):
    prepare(video, tmp_path / "data", name="ted_001")
    assert known_subjects(tmp_path / "data")[0] == "ted_001"
    with pytest.raises(UserError, match=r"unknown subject ted_01; known, closest first: ted_001,"):
        resolve("ted_01", tmp_path / "data")
    with pytest.raises(UserError, match=r"closest first: people_01.*, ted_001;"):
        resolve("people_013", tmp_path / "data")
    with pytest.raises(UserError, match=r"youtube_002 of the data set youtube .* dataset=youtube first"):
        resolve("youtube_002", tmp_path / "data")
    for missing in ("missing.mp4", "folder/clip"):
        with pytest.raises(UserError, match="no video at"):
            resolve(missing, tmp_path / "data")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 0}, "at least 1"),
        ({"start": -1}, "at least 0"),
        ({"crop": "tight"}, r"data\.crop=tight is unknown: choose 'person', 'center', 'pad' or 'none'"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        typed(DataSettings, {"resolution": 32, **options}, "data")


@pytest.mark.skipif(not CLIPS.exists(), reason="the real clips are not there")
def test_a_real_clip(tmp_path):
    subject = prepare(CLIPS / "ted_clip_3.mp4", tmp_path / "data", clip=ClipSettings(resolution=64, max_frames=20))
    assert subject.frames.shape == (20, 64, 64, 3) and subject.fps == 10 and subject.frames.std() > 20


def test_a_subject_of_before_is_read_as_it_is(video, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = tmp_path / "data"
    before = prepare(video, root)
    record = yaml.safe_load((root / "me/subject.yaml").read_text())
    box, settings = record["crop_box"], record["settings"]
    del settings["aspect"]
    old = {"left": box["left"], "top": box["top"], "side": box["width"]}
    (root / "me/subject.yaml").write_text(yaml.safe_dump(record | {"version": 1, "crop_box": old}))
    assert load_subject("me", root).provenance["crop_box"] == box
    caplog.clear()
    again = prepare(video, root)
    assert np.array_equal(again.frames, before.frames) and "is prepared already" in caplog.text


def test_no_memory_is_taken_for_a_crop_that_cannot_be(video, tmp_path):
    """A subject may come from anyone, and what is given beside its frames is cut as they were."""
    prepare(video, tmp_path / "data")
    path = tmp_path / "data/me/subject.yaml"
    record = yaml.safe_load(path.read_text())
    for change in ({"width": 200_000}, {"height": 0}, {"left": -10_000}, {"top": 10_000}):
        path.write_text(yaml.safe_dump(record | {"crop_box": record["crop_box"] | change}))
        with pytest.raises(UserError, match=r"crop_box is nothing that is cut out of [0-9]+x[0-9]+ pixels; prepare it"):
            load_subject("me", tmp_path / "data")


def test_frames_of_another_shape(video, tmp_path):
    settings = ClipSettings(resolution=64, aspect="2:1", crop="pad")
    subject = prepare(video, tmp_path / "data", clip=settings)
    assert subject.frames.shape[1:] == (64, 128, 3) and subject.size == (64, 128) and subject.resolution == 64
    assert subject.provenance["crop_box"]["width"] == 2 * subject.provenance["crop_box"]["height"]
    smaller = resized(subject, 32)
    assert smaller.size == (32, 64) and np.array_equal(smaller.poses.xy, subject.poses.xy)
    with pytest.raises(UserError, match=r"set data\.aspect=source"):
        ClipSettings(resolution=64, crop="none")
