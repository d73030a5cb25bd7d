"""Round trips and foreign dialects of pose files."""

import json
import logging

import numpy as np
import pytest

from src.common.errors import UserError
from src.pose.formats import PoseFile, load_poses, save_poses
from src.pose.keypoints import PARTS, PoseSequence

BODY_25_TO_18 = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


def random_poses(frames: int = 5, *, seed: int = 0) -> PoseSequence:
    """Poses with unseen keypoints, a frame without a person and points outside the picture."""
    rng = np.random.default_rng(seed)
    mask = rng.random((frames, 128)) < 0.8
    mask[:, 0] = True
    if frames > 2:
        mask[2] = False
    xy = rng.uniform(-0.3, 1.3, (frames, 128, 2)).astype(np.float32)
    return PoseSequence(xy, rng.uniform(0.01, 1, (frames, 128)), mask)


def flat(xy: np.ndarray, confidence: np.ndarray | float = 1.0) -> list[float]:
    return np.concatenate([xy, np.broadcast_to(confidence, len(xy))[:, None]], 1).ravel().tolist()


def person_json(xy: np.ndarray, **changes) -> dict:
    return {
        "pose_keypoints_2d": flat(xy[PARTS["body"]]),
        "face_keypoints_2d": flat(xy[PARTS["face"]]),
        "hand_left_keypoints_2d": flat(xy[PARTS["left_hand"]]),
        "hand_right_keypoints_2d": flat(xy[PARTS["right_hand"]]),
    } | changes


def write(path, value) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def test_npz_round_trip_is_bit_exact(tmp_path):
    poses = random_poses()
    save_poses(tmp_path / "p.npz", poses, fps=29.97)
    loaded = load_poses(tmp_path / "p.npz")
    for name in ("xy", "confidence", "mask"):
        assert getattr(loaded, name).tobytes() == getattr(poses, name).tobytes()
    assert PoseFile(tmp_path / "p.npz").fps() == 29.97


@pytest.mark.parametrize("name", ["p.json", "folder"])
@pytest.mark.parametrize("size", [(512, 512), (1080, 1920)])
def test_json_round_trip(tmp_path, name, size):
    poses = random_poses(12)
    save_poses(tmp_path / name, poses, fps=25, size=size)
    loaded = load_poses(tmp_path / name)
    assert np.array_equal(loaded.mask, poses.mask)
    np.testing.assert_allclose(loaded.xy, poses.xy, rtol=1e-6)
    np.testing.assert_allclose(loaded.confidence, poses.confidence, rtol=1e-6)
    assert PoseFile(tmp_path / name).fps() == 25


@pytest.mark.parametrize("name", ["p.npz", "p.json", "folder"])
def test_the_size_of_the_picture_is_kept(tmp_path, name):
    save_poses(tmp_path / name, random_poses(), size=(1080, 1920))
    assert PoseFile(tmp_path / name).size() == (1080, 1920) and len(load_poses(tmp_path / name)) == 5


def test_sizes_that_are_not_said_or_cannot_be(tmp_path):
    save_poses(tmp_path / "old.npz", random_poses())
    people = {"people": [person_json(np.full((128, 2), 0.5))]}
    canvas = {"canvas_width": 640, "canvas_height": 480}
    write(tmp_path / "plain.json", [people, {"people": []}])
    assert PoseFile(tmp_path / "old.npz").size() is None and PoseFile(tmp_path / "plain.json").size() is None
    write(
        tmp_path / "gaps.json", [{"people": []}, people | canvas, people | {"canvas_width": 320, "canvas_height": 240}]
    )
    assert PoseFile(tmp_path / "gaps.json").size() == (480, 640)
    write(tmp_path / "mixed.json", [people | canvas, people | {"canvas_width": 480, "canvas_height": 480}])
    with pytest.raises(UserError, match=r"mixed\.json: canvases of 640x480 and of 480x480 pixels: expected one shape"):
        PoseFile(tmp_path / "mixed.json").size()
    arrays = dict(np.load(tmp_path / "old.npz"))
    for size in ([1, 2, 3], [0, 5], [0.5, 2], [10, 10**9], 7):
        np.savez(tmp_path / "bad.npz", **arrays, size=size)
        with pytest.raises(UserError, match=r"bad\.npz: size must be a picture's height and width"):
            PoseFile(tmp_path / "bad.npz").size()


def test_fps_is_none_where_the_file_does_not_say(tmp_path):
    for name in ("p.npz", "p.json"):
        save_poses(tmp_path / name, random_poses())
        assert PoseFile(tmp_path / name).fps() is None


def test_seen_survives_a_confidence_of_zero(tmp_path):
    seen = np.ones((1, 128), bool)
    save_poses(tmp_path / "p.json", PoseSequence(np.full((1, 128, 2), 0.5), np.zeros((1, 128)), seen))
    assert load_poses(tmp_path / "p.json").mask.all()


def test_web_editor_json_with_absent_and_null_parts(tmp_path):
    """A frame as sd-webui-openpose-editor posts it: pixels, canvas, hands null, face absent."""
    xy = np.random.default_rng(1).uniform(20, 490, (128, 2))
    person = person_json(xy, hand_left_keypoints_2d=None)
    del person["face_keypoints_2d"]
    person["pose_keypoints_2d"][3 * 4 : 3 * 4 + 3] = [0, 0, 0]
    path = write(tmp_path / "p.json", {"people": [person], "canvas_width": 768, "canvas_height": 512})
    poses = load_poses(path)
    assert len(poses) == 1
    seen = np.ones(128, bool)
    seen[[4, *range(18, 107)]] = False
    assert np.array_equal(poses.mask[0], seen)
    np.testing.assert_allclose(poses.xy[0, seen], (xy / (768, 512))[seen], rtol=1e-6)


def test_normalised_coordinates_need_no_size(tmp_path, caplog):
    """Some points far outside the frame do not make them pixels."""
    xy = np.random.default_rng(2).uniform(0, 1, (128, 2))
    xy[8:14] = 2.7
    with caplog.at_level(logging.INFO):
        poses = load_poses(write(tmp_path / "p.json", [{"people": [person_json(xy)]}] * 2))
    np.testing.assert_allclose(poses.xy, np.stack([xy, xy]), rtol=1e-6)
    assert "normalised" in caplog.text


def test_openpose_folder_with_body_25_and_face_70(tmp_path):
    """OpenPose's own files: natural order, 25 body and 70 face points, pixels whose picture is not stated."""
    rng = np.random.default_rng(3)
    body_25 = rng.uniform(5, 600, (12, 25, 2))
    face_70 = rng.uniform(5, 600, (12, 70, 2))
    for i in range(12):
        person = {"person_id": [-1], "pose_keypoints_2d": flat(body_25[i], 0.7), "face_keypoints_2d": flat(face_70[i])}
        person |= {"hand_left_keypoints_2d": [], "hand_right_keypoints_2d": [0.0] * 63, "pose_keypoints_3d": []}
        write(tmp_path / f"clip_{i}_keypoints.json", {"version": 1.3, "people": [person]})
    with pytest.raises(UserError, match="coordinates are pixels"):
        load_poses(tmp_path)
    poses = PoseFile(tmp_path).people(size=(480, 640))[0]
    np.testing.assert_allclose(poses.xy[:, PARTS["body"]], body_25[:, BODY_25_TO_18] / (640, 480), rtol=1e-6)
    np.testing.assert_allclose(poses.xy[:, PARTS["face"]], face_70[:, :68] / (640, 480), rtol=1e-6)
    assert np.allclose(poses.confidence[:, PARTS["body"]], 0.7)
    assert not poses.mask[:, PARTS["left_hand"].start :].any()


def test_dwpose_dictionary(tmp_path):
    """DWPose's own: all people's body points in one list, left hands of all before right hands of all."""
    rng = np.random.default_rng(4)
    people = rng.uniform(0.1, 0.9, (2, 128, 2))
    people[0] = 0.1 + people[0] * 0.1
    people[1, [3, 20, 90]] = -1
    subset = np.arange(36).reshape(2, 18)
    subset[1, 3] = -1
    left, right = people[:, PARTS["left_hand"]], people[:, PARTS["right_hand"]]
    frame = {
        "bodies": {"candidate": people[:, PARTS["body"]].reshape(36, 2).tolist(), "subset": subset.tolist()},
        "hands": np.concatenate([left, right]).tolist(),
        "faces": people[:, PARTS["face"]].tolist(),
    }
    poses = load_poses(write(tmp_path / "p.json", [frame]))
    seen = np.ones(128, bool)
    seen[[3, 20, 90]] = False
    assert np.array_equal(poses.mask[0], seen)
    np.testing.assert_allclose(poses.xy[0, seen], people[1, seen], rtol=1e-6)


def test_several_people_the_largest_is_followed(tmp_path, caplog):
    rng = np.random.default_rng(5)
    large, small = rng.uniform(0, 400, (128, 2)), rng.uniform(420, 500, (128, 2))
    canvas = {"canvas_width": 512, "canvas_height": 512}
    frames = [{"people": [person_json(p + i) for p in (small, large)[:: (-1) ** i]], **canvas} for i in range(6)]
    with caplog.at_level(logging.INFO):
        poses = load_poses(write(tmp_path / "p.json", frames))
    np.testing.assert_allclose(poses.xy, np.stack([large + i for i in range(6)]) / 512, rtol=1e-5)
    assert "up to 2 people" in caplog.text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"keypoints": []}, "expected OpenPose JSON.*got keypoints"),
        ([1], "expected OpenPose JSON.*got int"),
        ({"people": [{"x": 1}]}, "person 0: expected an object with pose_keypoints_2d"),
        ({"people": [{"pose_keypoints_2d": [0.5] * 51}]}, r"has 51 numbers, expected 54 \(18 keypoints\) or 75 \(25"),
        ({"people": [{"face_keypoints_2d": [0.5] * 10}]}, r"has 10 numbers, expected 204 \(68 keypoints\) or 210"),
        ({"people": [{"pose_keypoints_2d": ["a"] * 54}]}, "pose_keypoints_2d: expected an array of numbers"),
        ({"people": [{"pose_keypoints_2d": [float("nan")] * 54}]}, "NaN is no number"),
        (
            {"people": [{"pose_keypoints_2d": [0.5] * 54}], "canvas_width": 0, "canvas_height": 5},
            "must both be numbers from 1",
        ),
        ({"bodies": {"candidate": [[0.1, 0.2]], "subset": [[0] * 17]}}, "expected DWPose's bodies.candidate"),
        ({"bodies": {"candidate": [[0.1, 0.2]], "subset": [[1] * 18]}}, "expected DWPose's bodies.candidate"),
        ({"people": []}, "no person found in the 1 frame;"),
        ([], "no person found in the 0 frames"),
    ],
)
def test_bad_json_is_one_clear_line(tmp_path, value, message):
    path = write(tmp_path / "bad.json", value)
    with pytest.raises(UserError, match=message) as caught:
        load_poses(path)
    assert "bad.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"xy": np.zeros((2, 133, 2))}, "confidence, mask, version missing"),
        (
            {"xy": np.zeros((2, 133, 2)), "confidence": np.zeros((2, 133)), "mask": np.zeros((2, 133)), "version": 1},
            r"must have shape \(frames, 128, 2\), got \(2, 133, 2\)",
        ),
        ({"xy": 0, "confidence": 0, "mask": 0, "version": 9}, "version 9 of the pose file, expected 1"),
    ],
)
def test_bad_npz_is_one_clear_line(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        load_poses(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


def test_bad_paths(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "pose.txt").write_text("")
    for name, message in {
        "absent.json": "no such file",
        "absent.npz": "no such file",
        "empty": "no .json files",
        "torn.npz": "not readable as arrays",
        "torn.json": "not readable as JSON",
        "pose.txt": "unknown kind of pose file",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            load_poses(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(UserError, match=r"cannot write poses as \.csv"):
        save_poses(tmp_path / "p.csv", random_poses())


def test_folder_with_a_list_of_frames_is_refused(tmp_path):
    save_poses(tmp_path / "many.json", random_poses())
    with pytest.raises(UserError, match=r"many\.json: 5 frames; expected one in each file of a folder"):
        load_poses(tmp_path)
