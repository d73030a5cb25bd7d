"""Pose files and pose scripts: a reader returns poses that everything after it can use, or refuses in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.common.errors import UserError
from src.pose.formats import PoseFile, load_poses, save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.script import EDITS, load_script, perform_script
from tests.robustness.malformed import as_json, exchanged, fuzzed, mutated, outcome, time_limit, values


def poses(frames: int = 2) -> PoseSequence:
    rng = np.random.default_rng(0)
    return PoseSequence(
        rng.uniform(0.2, 0.8, (frames, NUM_KEYPOINTS, 2)),
        rng.uniform(0.5, 1, (frames, NUM_KEYPOINTS)),
        np.ones((frames, NUM_KEYPOINTS), bool),
    )


def openpose() -> list[dict[str, Any]]:
    """Two frames with two people, short enough to be worth changing: bodies only."""
    rng = np.random.default_rng(1)
    people = [{"pose_keypoints_2d": rng.uniform(10, 500, 54).round(1).tolist()} for _ in range(2)]
    return [{"people": people, "canvas_width": 512, "canvas_height": 512, "fps": 25}] * 2


def dwpose() -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    bodies = {"candidate": rng.random((18, 2)).round(3).tolist(), "subset": [list(range(18))]}
    return [{"bodies": bodies, "hands": rng.random((2, 21, 2)).round(3).tolist(), "faces": []}]


def check(path: Path) -> None:
    found = outcome(lambda: PoseFile(path).people(size=(480, 640))[0])
    if found is not None:
        assert len(found) >= 1 and np.isfinite(found.xy).all() and np.isfinite(found.confidence).all()
        assert np.abs(found.xy).max() <= 1e6 and found.confidence.min() >= 0 and found.confidence.max() <= 1
    rate = outcome(lambda: PoseFile(path).fps())
    assert rate is None or 0.01 <= rate <= 1000


@fuzzed
@given(document=st.one_of(exchanged(openpose()), exchanged(dwpose()), values))
def test_json_of_one_file(tmp_path: Path, document: Any) -> None:
    (tmp_path / "poses.json").write_bytes(as_json(document))
    check(tmp_path / "poses.json")


@fuzzed
@given(document=st.one_of(exchanged(openpose()[0]), values))
def test_json_of_a_folder(tmp_path: Path, document: Any) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "1.json").write_bytes(as_json(openpose()[0]))
    (folder / "2.json").write_bytes(as_json(document))
    check(folder)


@fuzzed
@given(data=st.data())
def test_npz_bytes(tmp_path: Path, data: st.DataObject) -> None:
    save_poses(tmp_path / "valid.npz", poses(), fps=25)
    (tmp_path / "poses.npz").write_bytes(data.draw(mutated((tmp_path / "valid.npz").read_bytes())))
    check(tmp_path / "poses.npz")


ODD_ARRAYS = st.sampled_from(
    [
        *(np.array(value) for value in (0, 1, -1, np.nan, np.inf, 1e308, 2**62, True)),
        *(np.zeros(shape) for shape in ((0,), (1,), (2, 128), (2, 128, 2), (0, 128, 2), (2, 128, 3), (1, 2, 3, 4, 5))),
        *(np.full((2, 128, 2), value) for value in (np.nan, np.inf, 1e300, -1e30)),
        *(np.full((2, 128), value) for value in (np.nan, 2.0, -1.0, 255, True)),
        *(np.array(text) for text in ("text", b"bytes")),
    ]
)


@fuzzed
@given(changes=st.dictionaries(st.sampled_from(["xy", "confidence", "mask", "version", "fps", "more"]), ODD_ARRAYS))
def test_npz_arrays(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    valid = poses()
    arrays = {"xy": valid.xy, "confidence": valid.confidence, "mask": valid.mask, "version": np.int64(1)}
    np.savez(tmp_path / "poses.npz", **(arrays | changes))
    check(tmp_path / "poses.npz")


SCRIPT = {
    "frames": 4,
    "frame": None,
    "edits": [
        {"edit": "blink", "side": "right", "keys": {"0": 0, "3": 1}, "easing": "smooth"},
        {"edit": "translate", "x": 0.1, "y": 0, "keys": 1, "period": 2},
        {"edit": "zoom", "keys": 1.5},
    ],
}


@fuzzed
@given(content=st.one_of(exchanged(SCRIPT).map(as_json), values.map(as_json), mutated(as_json(SCRIPT)), st.binary()))
def test_scripts(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "script.yaml").write_bytes(content)
    performed = outcome(lambda: perform_script(load_script(tmp_path / "script.yaml"), poses()))
    assert performed is None or np.isfinite(performed.xy).all()


@fuzzed
@given(
    name=st.sampled_from(sorted(EDITS)),
    numbers=st.lists(st.sampled_from([0.0, -1e4, 1e4, 1e5, 1e-300, 1e308, 360.0, -7.3]), min_size=6, max_size=6),
)
def test_edits_with_extreme_amounts(tmp_path: Path, name: str, numbers: list[float]) -> None:
    options = dict(zip(("upper", "lower", "x", "y", "height"), numbers, strict=False))
    wanted = {"pose_arm": ("upper", "lower"), "translate": ("x", "y"), "walk": ("height",)}.get(name, ())
    sided = name in ("blink", "turn_head", "tilt_head", "raise_arm", "bend_arm", "pose_arm")
    entry = {"edit": name, "keys": numbers[5]} | {key: options[key] for key in wanted}
    (tmp_path / "s.yaml").write_text(
        json.dumps({"frames": 2, "edits": [entry | ({"side": "left"} if sided else {})] * 3})
    )
    performed = outcome(lambda: perform_script(load_script(tmp_path / "s.yaml"), poses()))
    assert performed is None or np.isfinite(performed.xy).all()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([{"people": [{"pose_keypoints_2d": [1e300, 5.0, 1.0] * 18}] * 2}], "more than 1000000 pixels away"),
        ([{"people": [{"pose_keypoints_2d": [0.5] * 54}] * 1000}], "1000 people, more than"),
        ([{"people": [{"pose_keypoints_2d": ["0.5"] * 54}]}], "expected an array of numbers"),
        ([{"people": [{"pose_keypoints_2d": [True] * 54}]}], "expected an array of numbers"),
        ([{"people": [{"pose_keypoints_2d": [10**30] * 54}]}], "more than 64 bits"),
        ([{"people": []}] * 60_000, "60000 frames, more than"),
        ([{"bodies": {"candidate": [[0.1, 0.2]], "subset": [[-7] * 18]}}], "expected DWPose"),
        ([{"people": [{"pose_keypoints_2d": [9.0] * 54}], "canvas_width": 1e-300, "canvas_height": 5}], "from 1 to"),
        ([{"people": [{"pose_keypoints_2d": [9.0] * 54}], "canvas_width": True, "canvas_height": True}], "from 1 to"),
    ],
)
def test_values_that_no_detector_writes(tmp_path: Path, document: Any, message: str) -> None:
    (tmp_path / "poses.json").write_text(json.dumps(document))
    with time_limit(20), pytest.raises(UserError, match=message):
        PoseFile(tmp_path / "poses.json").people(size=(480, 640))[0]


def test_a_folder_holds_no_more_than_a_file_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links of some bytes to one large file would each be read."""
    (tmp_path / "poses").mkdir()
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    for number in range(200):
        (tmp_path / f"poses/{number}.json").symlink_to("../large")
    monkeypatch.setattr("src.pose.formats.read_json", None)
    with pytest.raises(UserError, match=r"572 MiB of .json files, more than the 512 MiB that are read: cut it"):
        load_poses(tmp_path / "poses")


def test_names_as_people_have_them(tmp_path: Path) -> None:
    for name in ("clip (1)", "päß", "日本語", "it's", "a=b", "[1]", "a*"):
        for suffix in (".npz", ".json", ""):
            save_poses(tmp_path / f"{name}{suffix}", poses(), fps=25)
            assert len(load_poses(tmp_path / f"{name}{suffix}")) == 2
