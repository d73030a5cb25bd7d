"""The list of TED videos, downloads that fail, and cutting."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import src.data.datasets.youtube
from src.common.errors import UserError
from src.data.datasets.base import Unavailable
from src.data.datasets.ted import COLUMNS, TED, Row, box_in_pixels, cut_clip, read_rows
from src.data.datasets.youtube import YouTube
from src.media.video import read_video, write_video

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT.parent / "shared/data/ted-metadata.csv"
LINES = [
    "bbb#000010#000020,0,0,16-0-48-32,10.0,64,48,test",
    "aaa#000000#000999,4,12,0-0-48-48,10.0,64,48,test",
    "aaa#000030#000040,0,0,0-0-48-48,10.0,64,48,test",
    "ccc#000000#000005,0,0,0-0-48-48,10.0,64,48,train",
]


def write_list(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return path


def ted(tmp_path: Path, *, metadata: Path | None = None, clips: Path | None = None, **changes: object) -> TED:
    options = {"pattern": "*", "partition": "test", "crop_to_box": True, "retry": False}
    options |= {"num_published_clips": 128} | changes
    paths = {"metadata": metadata and str(metadata), "clips": clips and str(clips), "cache": str(tmp_path / "cache")}
    return TED(**paths, **options)


def write_ramp(path: Path, num_frames: int, fps: int, *, height: int = 48, width: int = 64) -> None:
    """Frame i is grey of level 4 i."""
    frames = np.repeat(np.arange(num_frames) * 4, height * width * 3).reshape(-1, height, width, 3)
    write_video(path, frames.astype(np.uint8), fps, crf=1)


def test_rows_take_their_range_from_the_columns_or_from_the_id(tmp_path: Path) -> None:
    rows = read_rows(write_list(tmp_path / "list.csv", LINES))
    assert [(row.youtube_id, row.start, row.end) for row in rows] == [
        ("bbb", 10, 20),
        ("aaa", 4, 12),
        ("aaa", 30, 40),
        ("ccc", 0, 5),
    ]
    assert rows[0].box == (16, 0, 48, 32) and rows[3].partition == "train"


def test_names_do_not_depend_on_the_order_of_the_list(tmp_path: Path) -> None:
    names = []
    for lines in (LINES, LINES[::-1]):
        clips = ted(tmp_path, metadata=write_list(tmp_path / "list.csv", lines)).clips()
        names.append({clip.name: (clip.source["youtube"], *clip.source["frames"]) for clip in clips})
    assert names[0] == names[1] == {"ted_001": ("aaa", 4, 12), "ted_002": ("aaa", 30, 40), "ted_003": ("bbb", 10, 20)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("aaa#000005#000005,0,0,0-0-48-48,10.0,64,48,test", "line 2: frames 5 to 5 are no range"),
        ("aaa,0,0,0-0-48-48,10.0,64,48,test", "line 2: start and end are 0, and the id aaa goes on without"),
        ("aaa,0,9,0-48-48,10.0,64,48,test", "is not left-top-right-bottom"),
        ("aaa,0,9,0-0-48-48,0,64,48,test", "fps 0, width 64 or height 48 is none"),
        ("aaa,0,9", "line 2: fewer than the 8 columns"),
    ],
)
def test_a_senseless_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_rows(write_list(tmp_path / "list.csv", [line]))


def test_a_partition_that_the_list_lacks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows of dataset.partition=test, only of train"):
        ted(tmp_path, metadata=write_list(tmp_path / "list.csv", LINES[3:])).clips()


def test_frames_and_box_are_cut_in_time_and_place(tmp_path: Path) -> None:
    write_ramp(tmp_path / "video.mp4", 60, 20, height=96, width=128)
    row = Row("id", 5, 15, (16, 0, 48, 32), 10.0, 64, 48, "test")
    cut_clip(tmp_path / "video.mp4", row, tmp_path / "clip", crop_to_box=True)
    frames = read_video(tmp_path / "clip").frames
    assert frames.shape == (10, 64, 64, 3), "a box of 32 in a list for half the size"
    # Frame k of the list is shown at k / 10 s: frame 2 k of this video.
    assert np.abs(frames.mean((1, 2, 3)) - 4 * 2 * np.arange(5, 15)).max() < 1.5
    cut_clip(tmp_path / "video.mp4", row, tmp_path / "whole", crop_to_box=False)
    assert read_video(tmp_path / "whole").frames.shape == (10, 96, 128, 3)


def test_the_box_is_scaled_along_each_side(tmp_path: Path) -> None:
    row = Row("id", 0, 1, (10, 20, 40, 50), 10.0, 100, 100, "test")
    assert box_in_pixels(row, 100, 100) == (10, 20, 40, 50)
    assert box_in_pixels(row, 205, 205) == (20, 41, 82, 102)
    with pytest.raises(UserError, match=r"480x270 pixels of this video's 1600x900.*dataset.crop_to_box=false"):
        box_in_pixels(row, 1600, 900)


def test_a_video_that_ends_before_the_clip_is_listed_as_gone(tmp_path: Path) -> None:
    write_ramp(tmp_path / "video.mp4", 20, 10)
    for start, end in ((15, 21), (40, 50)):
        with pytest.raises(Unavailable, match=rf"frames {start} to {end} at 10 a second, but the video id has 20"):
            cut_clip(
                tmp_path / "video.mp4",
                Row("id", start, end, (0, 0, 48, 48), 10.0, 64, 48, "test"),
                tmp_path / "clip",
                crop_to_box=True,
            )


class FakeYouTube:
    """Stands for the package yt_dlp: `videos` can be had, the rest raises what `errors` says."""

    def __init__(self, errors: dict[str, str], videos: dict[str, int]) -> None:
        self.errors, self.videos, self.asked = errors, videos, []
        transport = type("TransportError", (Exception,), {})
        extractor = type("ExtractorError", (Exception,), {"expected": True})
        download_error = type("DownloadError", (Exception,), {"exc_info": None})
        self.utils = SimpleNamespace(DownloadError=download_error, ExtractorError=extractor)
        self.networking = SimpleNamespace(exceptions=SimpleNamespace(TransportError=transport))

    def YoutubeDL(self, options: dict) -> "FakeYouTube":
        self.target = options["outtmpl"]
        return self

    def __enter__(self) -> "FakeYouTube":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def download(self, addresses: list[str]) -> None:
        video = addresses[0].split("=")[1]
        self.asked.append(video)
        if video in self.videos:
            write_ramp(Path(self.target), self.videos[video], 10)
            return
        error = self.utils.DownloadError(f"ERROR: [youtube] {video}: {self.errors[video]}")
        kind = self.utils.ExtractorError
        if "resolve" in self.errors[video]:
            kind = self.networking.exceptions.TransportError
        error.exc_info = (kind, kind(self.errors[video]), None)
        raise error


@pytest.fixture
def youtube(monkeypatch: pytest.MonkeyPatch) -> FakeYouTube:
    errors = {"bbb": "Video unavailable. This video has been removed by the uploader", "bot": "Sign in to confirm"}
    fake = FakeYouTube(errors | {"net": "Failed to resolve 'www.youtube.com'"}, {"aaa": 50})
    monkeypatch.setattr(src.data.datasets.youtube, "_yt_dlp", lambda: fake)
    return fake


def test_videos_are_fetched_once_and_those_that_are_gone_are_remembered(tmp_path: Path, youtube: FakeYouTube) -> None:
    metadata = write_list(tmp_path / "list.csv", LINES)
    for _ in range(2):
        first, second, gone = ted(tmp_path, metadata=metadata).clips()
        assert [len(read_video(clip.fetch()).frames) for clip in (first, second)] == [8, 10]
        with pytest.raises(Unavailable, match="removed by the uploader"):
            gone.fetch()
    assert youtube.asked == ["aaa", "bbb"]
    youtube.videos["bbb"] = 30
    again = ted(tmp_path, metadata=metadata, retry=True).clips()[2]
    assert len(read_video(again.fetch()).frames) == 10 and youtube.asked == ["aaa", "bbb", "bbb"]


def test_a_failure_that_may_pass_is_not_remembered(tmp_path: Path, youtube: FakeYouTube) -> None:
    source = YouTube(tmp_path, retry=False)
    for _ in range(2):
        with pytest.raises(UserError, match="could not fetch bot: .*Sign in") as failed:
            source.video("bot")
        assert not isinstance(failed.value, Unavailable)
    for _ in range(2):
        with pytest.raises(UserError, match=r"YouTube cannot be reached.*dataset.clips=<folder>"):
            source.video("net")
    assert youtube.asked == ["bot", "bot", "net"], "without a network it is not asked again"
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    monkeypatch.setitem(sys.modules, "yt_dlp.networking.exceptions", None)
    with pytest.raises(UserError, match=r"pip install '\.\[ted\]'"):
        YouTube(tmp_path, retry=False).video("aaa")


def test_clips_that_are_cut_already(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("ted_2.mp4", "ted_10.mp4", "dance.mp4"):
        write_ramp(tmp_path / "clips" / name, 3, 10)
    clips = ted(tmp_path, clips=tmp_path / "clips", pattern="ted_*").clips()
    assert [(clip.name, clip.source["file"]) for clip in clips] == [("ted_001", "ted_2.mp4"), ("ted_002", "ted_10.mp4")]
    for both in ({}, {"metadata": tmp_path / "x", "clips": tmp_path}):
        with pytest.raises(UserError, match=r"either dataset.metadata=.* or dataset.clips="):
            ted(tmp_path, **both)


def test_the_public_list(tmp_path: Path) -> None:
    if not SAMPLE.is_file():
        pytest.skip("../shared/data/ted-metadata.csv is not here")
    rows = read_rows(SAMPLE)
    assert len(rows) == 1320 and len({row.youtube_id for row in rows}) == 411
    assert min(row.end - row.start for row in rows) == 128
    clips = ted(tmp_path, metadata=SAMPLE, partition="train").clips()
    assert len(clips) == 1320 and clips[-1].name == "ted_1320"
    # Its frames are square where the videos are 16:9: the list that its authors replaced.
    with pytest.raises(UserError, match="issues 12 and 17"):
        box_in_pixels(rows[0], 1280, 720)
