"""Contact sheets and comparisons hold the right picture in the right place."""

import numpy as np
import pytest
from PIL import Image

from src.media.contact_sheet import Row, contact_sheet, side_by_side


def flat(levels: list[int], size: int = 32) -> np.ndarray:
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), size, size, 3)).copy()


def levels_of_columns(picture: np.ndarray, row: int) -> list[int]:
    """Grey levels along a row of pixels, without white and without repeats."""
    line = picture[row, :, 0]
    runs = [int(v) for v, w in zip(line[1:], line[:-1], strict=True) if v == w and v != 255]
    return [v for i, v in enumerate(runs) if i == 0 or v != runs[i - 1]]


def test_rows_show_the_same_frame_numbers(tmp_path):
    rows = [Row("", flat(list(range(0, 90, 10)))), Row("", flat(list(range(100, 190, 10))))]
    contact_sheet(rows, tmp_path / "sheet.png", columns=3)
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert levels_of_columns(picture, 20) == [0, 40, 80]
    assert levels_of_columns(picture, 56) == [100, 140, 180]
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_a_row_that_ends_early_is_left_blank(tmp_path):
    contact_sheet([Row("", flat([10, 20, 30])), Row("", flat([40]))], tmp_path / "sheet.png")
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert levels_of_columns(picture, 20) == [10, 20, 30] and levels_of_columns(picture, 56) == [40]


def test_labels_widen_the_margin_and_are_drawn(tmp_path):
    for name, label in (("short", "a"), ("long", "a much longer label")):
        contact_sheet([Row(label, flat([10]))], tmp_path / f"{name}.png")
    short, long = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("short", "long"))
    assert long.shape[1] > short.shape[1] + 50
    assert (long[:, :-40] < 128).any()


def test_videos_side_by_side():
    joined = np.stack(list(side_by_side([Row("left", flat([10, 20], 33)), Row("right", flat([30, 40], 17))])))
    assert joined.shape[1] % 2 == joined.shape[2] % 2 == 0
    assert [levels_of_columns(frame, 40) for frame in joined] == [[10, 30], [20, 40]]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (512, 128), (256, 128)])
def test_labels_of_narrow_videos_neither_run_into_each_other_nor_out_of_the_picture(height, width):
    labels = ["driver", "pose", "nearest training frame"]
    videos = [np.full((1, height, width, 3), level, np.uint8) for level in (60, 120, 180)]
    frame = next(side_by_side([Row(label, video) for label, video in zip(labels, videos, strict=True)]))
    assert levels_of_columns(frame, height) == [60, 120, 180]
    ink = "".join("#" if dark else " " for dark in (frame[: len(frame) - height - 8, :, 0] < 128).any(0))
    # Further apart than words are.
    assert len([label for label in ink.split(8 * " ") if label.strip()]) == 3
    assert ink[:3] == ink[-3:] == "   "


def test_what_cannot_be_joined(tmp_path):
    with pytest.raises(ValueError, match="one length"):
        side_by_side([Row("a", flat([1])), Row("b", flat([1, 2]))])
    with pytest.raises(ValueError, match="rows"):
        contact_sheet([Row("empty", flat([]))], tmp_path / "sheet.png")


def test_a_caption_stands_above_the_rows(tmp_path):
    for name, caption in (("plain", None), ("titled", "caption")):
        contact_sheet([Row("", flat([10, 20]))], tmp_path / f"{name}.png", caption=caption)
    plain, titled = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "titled"))
    banner = len(titled) - len(plain)
    assert (titled[banner:] == plain).all() and (titled[:banner] < 128).any()


def test_a_caption_is_not_cut_off(tmp_path):
    for name, caption in (("short", "c"), ("long", "the right eye closes (Fig. 4), as in conf/pose_script")):
        contact_sheet([Row("", flat([10]))], tmp_path / f"{name}.png", caption=caption)
    short, long = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("short", "long"))
    assert long.shape[1] > short.shape[1] and (long[:, -3:] == 255).all()
    assert (long[:, : short.shape[1]][20:] == short[20:]).all()
