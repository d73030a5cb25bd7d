"""DisCo's TSV files and folders of frames."""

from pathlib import Path

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.datasets.tiktok import TikTok
from src.data.datasets.tsv import TsvFile, find_clips
from src.media.video import read_video, write_frames
from tests.data.datasets.helpers import random_clips, write_split

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT.parent / "shared/data/disco_tsv"


def dataset(root: Path, cache: Path, split: str | None = None) -> TikTok:
    return TikTok(root=str(root), split=split, pattern="*", cache=str(cache), num_published_clips=10, fps=30)


def fetched(root: Path, cache: Path) -> dict[str, list[bytes]]:
    return {clip.name: [path.read_bytes() for path in sorted(clip.fetch().iterdir())] for clip in dataset(root, cache)}


@pytest.mark.parametrize("index", ["text", "binary", "both", "none"])
@pytest.mark.parametrize("relative", [False, True])
def test_every_byte_of_every_frame_comes_back(tmp_path: Path, index: str, relative: bool) -> None:
    clips = random_clips([4, 1, 3])
    write_split(tmp_path / "tsv", clips, relative=relative, index=index)
    assert fetched(tmp_path / "tsv", tmp_path / "cache") == {f"tiktok_{i:03d}": clip for i, clip in enumerate(clips, 1)}


def test_a_fetched_clip_is_a_folder_of_frames_at_the_given_rate(tmp_path: Path) -> None:
    write_split(tmp_path / "tsv", random_clips([3, 5]))
    first, second = dataset(tmp_path / "tsv", tmp_path / "cache")
    assert read_video(second.fetch()).frames.shape == (5, 32, 32, 3) and second.fps == 30
    assert first.source == {"split": "val", "clip": "Custom_000", "rows": [0, 2]}
    assert second.source == {"split": "val", "clip": "Custom_001", "rows": [3, 7]}


def test_other_content_under_the_same_names_is_not_mistaken_for_the_cached(tmp_path: Path) -> None:
    for seed in (0, 1):
        clips = random_clips([2], seed=seed)
        write_split(tmp_path / "tsv", clips)
        assert fetched(tmp_path / "tsv", tmp_path / "cache") == {"tiktok_001": clips[0]}


def test_an_index_of_another_file_is_an_error(tmp_path: Path) -> None:
    write_split(tmp_path, random_clips([3]), index="text")
    path = tmp_path / "val_images.lineidx"
    offsets = path.read_text().split()
    path.write_text("\n".join([offsets[0], str(int(offsets[1]) + 7), offsets[2]]))
    with pytest.raises(UserError, match="row 1 is not where its index says"):
        fetched(tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir()), "nothing half-written is left"


def test_rows_of_other_frames_are_an_error(tmp_path: Path) -> None:
    write_split(tmp_path, random_clips([2, 2]), index="none")
    images = tmp_path / "val_images.tsv"
    lines = images.read_text().splitlines(keepends=True)
    images.write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(UserError, match=r"row 0 is Custom_000_000002.png, but Custom_000_000001.png in the clip list"):
        fetched(tmp_path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (["[0, 1]", "[0, 0]"], "do not agree on which frames belong to one clip"),
        (["[0, 2]", "[0, 2]"], "do not agree"),
        (["0-1", "[0, 1]"], r"row 0 is '0-1', expected \[first, last\]"),
    ],
)
def test_a_clip_list_that_contradicts_itself_is_an_error(tmp_path: Path, ranges: list[str], message: str) -> None:
    write_split(tmp_path, random_clips([2]), index="none")
    path = tmp_path / "val_vid2line.tsv"
    path.write_text("".join(f"Custom_000_{i:06d}.png\t{text}\n" for i, text in enumerate(ranges, 1)))
    with pytest.raises(UserError, match=message):
        find_clips(TsvFile(tmp_path / "val_images.tsv"), TsvFile(path))


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    write_split(tmp_path, [[b"GIF89a"]])
    with pytest.raises(UserError, match="neither JPEG nor PNG"):
        fetched(tmp_path, tmp_path / "cache")


def test_several_splits_need_a_choice(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_split(tmp_path, random_clips([1]), split=split)
    with pytest.raises(UserError, match=r"several splits: dataset.split=train\|val"):
        dataset(tmp_path, tmp_path).clips()
    assert len(dataset(tmp_path, tmp_path, "val").clips()) == 1
    with pytest.raises(UserError, match="no test_images.tsv"):
        dataset(tmp_path, tmp_path, "test").clips()


def test_folders_of_frames_in_the_layout_of_the_tiktok_data_set(tmp_path: Path) -> None:
    for name in ("00340", "00335"):
        write_frames(tmp_path / name / "images", np.zeros((2, 8, 8, 3), np.uint8))
        write_frames(tmp_path / name / "masks", np.zeros((2, 8, 8, 3), np.uint8))
    clips = dataset(tmp_path, tmp_path / "cache").clips()
    assert [(clip.name, clip.source["file"]) for clip in clips] == [
        ("tiktok_001", "00335/images"),
        ("tiktok_002", "00340/images"),
    ]
    assert clips[0].fps == 30


def test_the_real_sample(tmp_path: Path) -> None:
    if not SAMPLE.is_dir():
        pytest.skip("../shared/data/disco_tsv is not here")
    clips = dataset(SAMPLE, tmp_path).clips()
    assert [clip.source["rows"] for clip in clips] == [[0, 8], [9, 17], [18, 26]]
    assert read_video(clips[2].fetch()).frames.shape == (9, 1080, 604, 3)
