"""Tables, manifests and pools from outside: what they name stays where it belongs, and what they claim is checked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.datasets.folder import Folder
from src.data.datasets.ted import COLUMNS, TED, read_rows
from src.data.datasets.tiktok import TikTok
from src.data.datasets.tsv import TsvFile, find_clips
from src.data.datasets.youtube import YouTube
from src.data.manifest import PARTS, _read
from src.media.video import write_frames, write_video
from src.miniature.pools import ARRAYS, open_pool
from src.pose.keypoints import NUM_KEYPOINTS
from tests.data.datasets.helpers import random_clips, write_split
from tests.robustness.malformed import ODD_TEXTS, as_json, exchanged, fuzzed, mutated, outcome, time_limit, values

LINE = ["abc_-1#000010#000020", "0", "0", "16-0-48-32", "10.0", "64", "48", "test"]
CLIPS = random_clips([2, 3])


def ted(tmp_path: Path) -> TED:
    return TED(
        metadata=str(tmp_path / "list.csv"),
        clips=None,
        pattern="*",
        partition="test",
        crop_to_box=True,
        cache=str(tmp_path / "cache"),
        retry=False,
        num_published_clips=None,
    )


def tiktok(tmp_path: Path) -> TikTok:
    paths = {"root": str(tmp_path / "tsv"), "cache": str(tmp_path / "cache")}
    return TikTok(**paths, split=None, pattern="*", num_published_clips=None, fps=30)


@fuzzed
@given(changes=st.dictionaries(st.integers(0, 7), st.sampled_from([*ODD_TEXTS[:-2], "0-0-9", "1e9", "-5", "9" * 30])))
def test_ted_lines(tmp_path: Path, changes: dict[int, str]) -> None:
    line = [changes.get(column, value).replace("\n", " ") for column, value in enumerate(LINE)]
    (tmp_path / "list.csv").write_text("\n".join([",".join(COLUMNS), ",".join(line)]))
    for clip in outcome(ted(tmp_path).clips) or ():
        folder = clip.fetch.__closure__
        assert folder and clip.fps > 0 and 0 <= clip.source["frames"][0] < clip.source["frames"][1]
        assert "/" not in clip.source["youtube"] and not clip.source["youtube"].startswith(".")


@fuzzed
@given(data=mutated("\n".join([",".join(COLUMNS), *[",".join(LINE)] * 3]).encode()))
def test_ted_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    outcome(lambda: read_rows(tmp_path / "list.csv"))


@pytest.mark.parametrize("name", ["/tmp/x", "../../x", "..", "a/b", "a\\b", ".hidden", "a b", "x&list=y", "", "日本"])
def test_a_video_id_never_leaves_the_cache(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.csv").write_text("\n".join([",".join(COLUMNS), ",".join([f"{name}#1#2", *LINE[1:]])]))
    with pytest.raises(UserError, match=r"line 2: .*video_id"):
        ted(tmp_path).clips()
    if name not in ("a b", "x&list=y", "日本"):
        with pytest.raises(UserError, match="a video's id is"):
            YouTube(tmp_path / "videos", retry=False).video(name)
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


@pytest.mark.parametrize("name", ["val_images.tsv", "val_vid2line.tsv", "val_images.lineidx", "val_images.lineidx.8b"])
@fuzzed
@given(data=st.data())
def test_tsv_bytes(tmp_path: Path, name: str, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path)
    write_split(tmp_path / "tsv", CLIPS, index=data.draw(st.sampled_from(["both", "text", "none"])))
    path = tmp_path / "tsv" / name
    path.write_bytes(data.draw(mutated(path.read_bytes() if path.exists() else b"0\n50\n")))
    for clip in outcome(tiktok(tmp_path).clips) or ():
        folder = outcome(clip.fetch)
        assert folder is None or (folder.parent == tmp_path / "cache" and any(folder.iterdir()))


@fuzzed
@given(
    key=st.sampled_from(["../../x_1.png", "/tmp/x_1.png", "a/b_1.png", "._1.png", "日本_1.png", "x" * 400 + "_1.png"]),
    ranges=st.lists(st.tuples(*[st.sampled_from([0, 1, 2, -1, 10**9, 10**12])] * 2), min_size=3, max_size=3),
)
def test_tsv_values(tmp_path: Path, key: str, ranges: list[tuple[int, int]]) -> None:
    for name, columns in (("images", ["iVBORw0KGgo="] * 3), ("vid2line", [json.dumps(pair) for pair in ranges])):
        (tmp_path / f"val_{name}.tsv").write_text("".join(f"{key}\t{column}\n" for column in columns))
    clips = outcome(lambda: find_clips(*(TsvFile(tmp_path / f"val_{name}.tsv") for name in ("images", "vid2line"))))
    assert all("/" not in clip.key and clip.key[0] != "." for clip in clips or ())


@pytest.mark.parametrize(
    ("index", "told"),
    [("0\n" * 500_001, "has more than the 500000 rows"), ("0\n" * 6_000_000, "larger than the 10 MiB")],
)
def test_an_index_is_not_larger_than_one_can_be(tmp_path: Path, index: str, told: str) -> None:
    """Of 64 MiB the words took two gigabytes and a minute before they were counted."""
    (tmp_path / "a.tsv").write_text("x\ty\n")
    (tmp_path / "a.lineidx").write_text(index)
    with time_limit(3), pytest.raises(UserError, match=told):
        TsvFile(tmp_path / "a.tsv")


def test_a_range_of_a_million_million_rows_is_not_built(tmp_path: Path) -> None:
    write_split(tmp_path / "tsv", CLIPS)
    path = tmp_path / "tsv" / "val_vid2line.tsv"
    for text in ("[0, 999999999]", "[0, 1000000000000]", "[[[[0]]]]", "[0, Infinity]", "[0, 1.5]"):
        path.write_text("".join(f"Custom_000_{i:06d}.png\t{text}\n" for i in range(5)))
        for index in path.parent.glob("val_vid2line.lineidx*"):
            index.unlink()
        with time_limit(5), pytest.raises(UserError, match="do not agree|expected .first, last"):
            tiktok(tmp_path).clips()


MANIFEST = {"dataset": "some", "subjects": {"some_001": {"source": {"file": "a"}, "record_sha256": "0"}}, "failed": {}}


@fuzzed
@given(data=st.one_of(exchanged(MANIFEST).map(as_json), values.map(as_json), mutated(as_json(MANIFEST))))
def test_manifests(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "some.manifest.json").write_bytes(data)
    parts = outcome(lambda: _read(tmp_path / "some.manifest.json"))
    kinds = dict.fromkeys(PARTS, str) | {"subjects": dict}
    assert parts is None or all(isinstance(entry, kinds[part]) for part in PARTS for entry in parts[part].values())


def write_pool(folder: Path) -> None:
    shard = folder / "shard_00000"
    shard.mkdir(exist_ok=True, parents=True)
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    points = np.zeros((2, NUM_KEYPOINTS, 2), np.float32), np.ones((2, NUM_KEYPOINTS), bool)
    for name, array in zip(ARRAYS, (pictures, pictures, *points), strict=True):
        np.save(shard / f"{name}.npy", array)
    (shard / "prompts.json").write_text(json.dumps(["a", "b"]))


@fuzzed
@given(data=st.data())
def test_pools(tmp_path: Path, data: st.DataObject) -> None:
    write_pool(tmp_path)
    name = data.draw(st.sampled_from([*(f"{name}.npy" for name in ARRAYS), "prompts.json"]))
    path = tmp_path / "shard_00000" / name
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    pool = outcome(lambda: open_pool(tmp_path))
    if pool is not None:
        assert len(pool) == 2 and pool.gather("frames", np.arange(2)).shape == (2, 8, 8, 3)


@fuzzed
@given(
    pattern=st.one_of(st.text(max_size=8), st.sampled_from([*ODD_TEXTS, "../*", "**", "**/*", "[", "[!", "a*/../*"]))
)
def test_patterns(tmp_path: Path, pattern: str) -> None:
    write_frames(tmp_path / "clips" / "a", np.zeros((1, 8, 8, 3), np.uint8))
    folder = Folder(name="clips", root=str(tmp_path / "clips"), pattern=pattern, num_published_clips=None, fps=None)
    for clip in outcome(folder.clips) or ():
        assert clip.fetch().is_relative_to(tmp_path / "clips") and ".." not in clip.source["file"]


def test_clips_with_names_as_people_have_them(tmp_path: Path) -> None:
    names = ["clip (1).mp4", "päß.mp4", "日本語.mp4", "it's.mp4", "a=b.mp4", "[1] b*.mp4", "http:x.mp4"]
    for name in names:
        write_video(tmp_path / name, np.zeros((2, 16, 16, 3), np.uint8), 10)

    def found(pattern: str) -> list[str]:
        clips = Folder(name="clips", root=str(tmp_path), pattern=pattern, num_published_clips=None, fps=None).clips()
        return sorted(clip.source["file"] for clip in clips)

    assert found("*") == sorted(names)
    for name in names:
        assert found(name) == [name]
