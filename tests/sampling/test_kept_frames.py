"""Windows of a long video on disk: what was finished stays, and nothing else is believed."""

import json

import numpy as np
import pytest

from src.sampling.kept_frames import FRAMES, RECORD, KeptFrames

LENGTHS, SIZE = [2, 1, 2], (4, 6)


@pytest.fixture
def windows() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (length, *SIZE, 3), np.uint8) for length in LENGTHS]


@pytest.fixture
def opened(tmp_path):
    return lambda key="one": KeptFrames(tmp_path / "kept", key=key, size=SIZE, lengths=LENGTHS)


def finished(kept: KeptFrames, windows: list[np.ndarray]) -> np.ndarray:
    for window in windows[kept.done :]:
        kept.add(window)
    return kept.frames()


def test_frames_come_back_in_order_read_only_and_from_disk(opened, windows):
    frames = finished(opened(), windows)
    assert np.array_equal(frames, np.concatenate(windows)) and isinstance(frames, np.memmap)
    assert not frames.flags.writeable


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_video_goes_on_after_its_last_window(opened, windows, count):
    kept = opened()
    for window in windows[:count]:
        kept.add(window)
    again = opened()
    assert again.done == count
    assert np.array_equal(finished(again, windows), np.concatenate(windows))


def test_another_job_begins_anew(opened, windows):
    opened().add(windows[0])
    assert opened("two").done == 0
    assert opened("one").done == 0, "what was there is gone"


def test_a_window_that_was_written_and_not_recorded_does_not_count(opened, windows, tmp_path):
    kept = opened()
    kept.add(windows[0])
    with open(tmp_path / "kept" / FRAMES, "ab") as file:
        file.write(bytes(1000))
    again = opened()
    assert again.done == 1
    assert np.array_equal(finished(again, windows), np.concatenate(windows))


@pytest.mark.parametrize("damage", ["bits", "cut", "header", "gone", "record", "names"])
def test_what_is_not_as_it_was_written_is_made_again(opened, windows, tmp_path, damage):
    kept = opened()
    kept.add(windows[0])
    kept.add(windows[1])
    path, record = tmp_path / "kept" / FRAMES, tmp_path / "kept" / RECORD
    data = bytearray(path.read_bytes())
    match damage:
        case "bits":
            data[-1] ^= 1
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[:-1])
        case "header":
            data[8] ^= 1
            path.write_bytes(data)
        case "gone":
            path.unlink()
        case "record":
            record.write_text("{")
        case "names":
            record.write_text(json.dumps({"key": "one", "windows": 5}))
    again = opened()
    assert again.done == (1 if damage in ("bits", "cut") else 0)
    assert np.array_equal(finished(again, windows), np.concatenate(windows))
