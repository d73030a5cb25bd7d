"""The common interface, keypoints from files, and MediaPipe."""

import os
import sys
import threading
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from src.common.errors import UserError
from src.pose.extractors.base import FileExtractor, PoseExtractor, extract_people
from src.pose.extractors.checkup import check_poses
from src.pose.extractors.mediapipe import FACE_FROM_MESH, MediaPipeExtractor, to_person
from src.pose.extractors.settings import ExtractorSettings
from src.pose.formats import save_poses
from src.pose.keypoints import PARTS, PoseSequence
from src.pose.tracking import Detection

CONF = Path(__file__).parents[3] / "conf" / "pose"
CLIPS = Path(__file__).parents[4] / "shared" / "data" / "clips"


def blank(frames: int) -> np.ndarray:
    return np.zeros((frames, 48, 64, 3), np.uint8)


def some_poses(frames: int) -> PoseSequence:
    xy = np.random.default_rng(0).uniform(0, 1, (frames, 128, 2))
    return PoseSequence(xy, np.ones((frames, 128)), np.ones((frames, 128), bool))


@pytest.mark.parametrize("name", [path.stem for path in sorted(CONF.glob("*.yaml"))])
def test_every_config_builds_its_extractor(name):
    values = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    extractor = TypeAdapter(ExtractorSettings).validate_python(values).build()
    assert isinstance(extractor, PoseExtractor) and extractor.name == name


def test_frames_must_be_rgb_bytes():
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8 RGB, got \(4, 4\) float64"):
        extract_people(lambda frame: [], [np.zeros((4, 4))], total=1, name="test")


def test_frames_are_read_once_and_one_at_a_time():
    alive, most = [], 0

    def frames():
        for i in range(5):
            alive.append(i)
            yield blank(1)[0]

    def detect(frame):
        nonlocal most
        most = max(most, len(alive))
        alive.clear()
        return [Detection(np.full((128, 2), 0.5), np.ones(128))]

    assert len(extract_people(detect, frames(), total=None, name="test")[0]) == 5
    assert most == 1


def test_file_gives_back_what_was_saved(tmp_path):
    poses = some_poses(3)
    save_poses(tmp_path / "p.npz", poses)
    extractor = FileExtractor(path=tmp_path / "p.npz")
    assert np.array_equal(extractor.extract(blank(3)).xy, poses.xy)
    before = extractor.fingerprint()
    save_poses(tmp_path / "p.npz", some_poses(2))
    assert extractor.fingerprint() != before
    with pytest.raises(UserError, match=r"p\.npz: 2 poses for a clip of 3 frames"):
        extractor.extract(blank(3))


def test_file_in_pixels_takes_the_size_of_the_frames(tmp_path):
    (tmp_path / "p.json").write_text('[{"people": [{"pose_keypoints_2d": [' + ", ".join(["32, 12, 1"] * 18) + "]}]}]")
    poses = FileExtractor(path=tmp_path / "p.json").extract(blank(1))
    assert np.allclose(poses.xy[0, :18], (0.5, 0.25)) and not poses.mask[0, 18:].any()


@pytest.mark.parametrize(("size", "warned"), [((48, 64), False), ((360, 480), False), ((48, 48), True)])
def test_file_of_a_picture_of_another_shape_is_told(tmp_path, caplog, size, warned):
    save_poses(tmp_path / "p.json", some_poses(1), size=size)
    FileExtractor(path=tmp_path / "p.json").extract(blank(1))
    assert ("48x48 pixels, and the clip has 64x48" in caplog.text) == warned


def test_file_without_a_path_or_a_file(tmp_path):
    with pytest.raises(UserError, match=r"set pose\.path="):
        FileExtractor(path=None).extract(blank(1))
    with pytest.raises(UserError, match=r"absent: no such file or folder; pose\.path"):
        FileExtractor(path=tmp_path / "absent").fingerprint()


def landmarks(xy: np.ndarray, visibility: float = 0.9) -> SimpleNamespace:
    return SimpleNamespace(landmark=[SimpleNamespace(x=x, y=y, visibility=visibility) for x, y in xy])


def holistic_result(**changes) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    counts = {"pose": 33, "face": 468, "left_hand": 21, "right_hand": 21}
    parts = {f"{name}_landmarks": landmarks(rng.uniform(0, 1, (count, 2))) for name, count in counts.items()}
    return SimpleNamespace(**(parts | changes))


def test_mediapipe_keypoints_keep_their_sides():
    result = holistic_result()
    person = to_person(result, visibility_threshold=0.5)
    assert person.seen.all()
    pose = np.array([(p.x, p.y) for p in result.pose_landmarks.landmark])
    # MediaPipe: 0 nose, 2/5 left/right eye, 7/8 ears, 11/12 shoulders, 13/14 elbows, 15/16 wrists, 23/24 hips ...
    right = {2: 12, 3: 14, 4: 16, 8: 24, 9: 26, 10: 28, 14: 5, 16: 8}
    left = {5: 11, 6: 13, 7: 15, 11: 23, 12: 25, 13: 27, 15: 2, 17: 7}
    for ours, theirs in (right | left | {0: 0}).items():
        assert np.array_equal(person.xy[ours], pose[theirs])
    assert np.allclose(person.xy[1], (pose[11] + pose[12]) / 2)
    hand = result.left_hand_landmarks.landmark[5]
    assert np.array_equal(person.xy[PARTS["left_hand"]][5], (hand.x, hand.y))


def test_mediapipe_hidden_missing_and_outside_are_unseen():
    result = holistic_result(left_hand_landmarks=None)
    result.pose_landmarks.landmark[12].visibility = 0.2
    result.pose_landmarks.landmark[25].y = 1.2
    result.right_hand_landmarks.landmark[8].x = -0.01
    unseen = np.flatnonzero(~to_person(result, visibility_threshold=0.5).seen)
    # neck and right shoulder (hidden), left knee (below the picture), left hand (not found), a fingertip (outside)
    assert unseen.tolist() == [1, 2, 12, *range(86, 107), 115]
    nothing = SimpleNamespace(**dict.fromkeys(vars(result)))
    assert not to_person(nothing, visibility_threshold=0.5).seen.any()


def test_mediapipe_face_map_takes_68_different_places_of_the_mesh():
    assert FACE_FROM_MESH.shape == (68, 2) and FACE_FROM_MESH.min() >= 0 and FACE_FROM_MESH.max() < 468
    assert len({tuple(pair) for pair in FACE_FROM_MESH}) == 68


def test_mediapipe_absent_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(UserError, match=r"pip install '\.\[mediapipe\]'"):
        MediaPipeExtractor().extract(blank(1))


def test_mediapipe_fingerprint_follows_settings():
    pytest.importorskip("mediapipe", reason="needs the extra mediapipe")
    first = MediaPipeExtractor().fingerprint()
    assert first == MediaPipeExtractor().fingerprint()
    assert first != MediaPipeExtractor(visibility_threshold=0.6).fingerprint()


def test_mediapipe_bad_complexity():
    with pytest.raises(UserError, match=r"pose\.model_complexity=3: expected 0, 1 or 2"):
        MediaPipeExtractor(model_complexity=3).extract(blank(1))


def test_mediapipe_talks_to_nobody_while_its_models_start(monkeypatch, capfd):
    seen, nobody = holistic_result(), SimpleNamespace(**dict.fromkeys(vars(holistic_result())))

    class Holistic:
        def __enter__(self):
            # A thread prints, and later than this returns.
            self.late = threading.Timer(0.05, os.write, (2, b"INFO: Created a delegate"))
            self.late.start()
            self.results = iter([nobody, nobody, seen])
            return self

        def __exit__(self, *exception):
            os.write(2, b"our own")

        def process(self, frame):
            self.late.join()
            if (result := next(self.results)) is seen:
                os.write(2, b"W0000 of a model that looks at somebody")
            return result

    monkeypatch.setattr(MediaPipeExtractor, "_open", lambda self: Holistic())
    assert MediaPipeExtractor().extract(blank(3)).mask.any(1).tolist() == [False, False, True]
    assert capfd.readouterr().err == "our own"


def test_mediapipe_nobody_in_the_picture(capfd):
    pytest.importorskip("mediapipe", reason="needs the extra mediapipe")
    with pytest.raises(UserError, match="mediapipe: no person found in the 2 frames"):
        MediaPipeExtractor().extract(blank(2))
    assert "XNNPACK" not in capfd.readouterr().err


@pytest.mark.skipif(not (CLIPS / "ted_clip_1.mp4").is_file(), reason="the real clips are not here")
def test_mediapipe_on_a_real_clip():
    """Hands sit on their own wrists, the face's dots around the body's nose."""
    pytest.importorskip("mediapipe", reason="needs the extra mediapipe")
    import av

    with av.open(str(CLIPS / "ted_clip_1.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 12)]
    poses = MediaPipeExtractor().extract(frames, total=12)
    assert poses.mask[:, PARTS["face"]].all() and poses.mask[:, :8].all()
    for hand, wrist, other in (("left_hand", 7, 4), ("right_hand", 4, 7)):
        both = poses.mask[:, PARTS[hand].start]
        assert both.mean() > 0.5
        root = poses.xy[both, PARTS[hand].start]
        own, far = (np.linalg.norm(root - poses.xy[both, index], axis=-1) for index in (wrist, other))
        assert (own < 0.1).all() and (own < far).all()
    face = poses.xy[:, PARTS["face"]]
    assert np.abs(face[:, 30] - poses.xy[:, 0]).max() < 0.03
    # iBUG's order on an upright face towards the camera: jaw, brows, eyes and mouth from the picture's left to right.
    for row in (range(17), range(17, 27), (36, 39, 42, 45), range(48, 55), range(60, 65), range(31, 36)):
        assert (np.diff(face[:, list(row), 0]) > 0).all()
    spans = (slice(17, 27), slice(36, 48), slice(31, 36), slice(48, 68))
    brows, eyes, nose, mouth = (face[:, span, 1].mean(1) for span in spans)
    assert (brows < eyes).all() and (eyes < nose).all() and (nose < mouth).all()
    # The right shoulder of a person who faces the camera is on the picture's left.
    assert (poses.xy[:, 2, 0] < poses.xy[:, 5, 0]).all()


def test_an_extractor_that_the_checkup_does_not_know_has_not_the_weights_of_another() -> None:
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        check_poses(SimpleNamespace(kind="new"))  # type: ignore[arg-type]
