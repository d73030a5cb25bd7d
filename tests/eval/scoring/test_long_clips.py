"""Clips of thousands of frames: they wait on disk, and a few frames at a time are looked at, for the same numbers."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import score
from eval.metrics.fvd import clip_starts, cut_clips
from eval.scoring import frame_tensors
from eval.scoring.clips import ClipPaths
from eval.scoring.frame_tensors import FrameTensors, WindowTensors
from eval.scoring.reading import read_clip
from src.common.arrays import collected
from src.data.subject import Subject, resized
from src.media.video import write_frames
from src.people.identity import sample_identity
from src.people.render import render_clip
from tests.eval.conftest import smooth_frames

LIMIT = 20 * 32 * 32 * 3


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Clips of more than 20 frames of 32 pixels wait on disk; returns how many frames each tensor was made of."""
    made: list[int] = []
    make = frame_tensors.as_tensor

    def counted(frames_FHWC: np.ndarray) -> torch.Tensor:
        made.append(len(frames_FHWC))
        return make(frames_FHWC)

    monkeypatch.setattr("src.common.arrays.HELD_BYTES", LIMIT)
    monkeypatch.setattr("eval.scoring.frame_tensors.HELD_BYTES", LIMIT)
    monkeypatch.setattr("eval.scoring.frame_tensors.as_tensor", counted)
    return made


def write_clip(folder: Path, frames: int) -> None:
    for seed, side in enumerate(("generated", "real")):
        write_frames(folder / side, smooth_frames(frames, 32, seed=seed))


def test_a_long_clip_has_the_numbers_of_one_in_memory(tmp_path: Path, on_disk: list[int], monkeypatch) -> None:
    write_clip(tmp_path, 45)
    places = tmp_path / "generated", tmp_path / "real"
    metrics = {"metrics": ["psnr", "ssim", "l1", "flicker"], "device": "cpu", "batch_size": 4}
    streamed = score(*places, **metrics)
    assert on_disk and max(on_disk) == 4
    monkeypatch.setattr("src.common.arrays.HELD_BYTES", 2**28)
    monkeypatch.setattr("eval.scoring.frame_tensors.HELD_BYTES", 2**28)
    whole = score(*places, **metrics)
    assert max(on_disk) == 45
    assert streamed["clips"] == whole["clips"] and streamed["inputs"] == whole["inputs"]


def test_the_memory_of_reading_does_not_grow_with_the_frames(tmp_path: Path, on_disk: list[int]) -> None:
    def peak(frames: int) -> int:
        write_clip(tmp_path / str(frames), frames)
        paths = ClipPaths("clip", tmp_path / str(frames) / "generated", tmp_path / str(frames) / "real", None)
        tracemalloc.start()
        clip = read_clip(paths, resolution=48, resize="bicubic")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert clip.generated.shape == (frames, 48, 48, 3) and not clip.generated.flags.writeable
        return most

    peak(21)  # brings what is loaded once
    assert peak(80) - peak(40) < 20 * 32 * 32 * 3


@pytest.mark.parametrize("stride", [1, 3, 12, 16, 29])
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_windows_are_those_of_the_whole_video_and_each_frame_is_prepared_once(stride, rows, on_disk) -> None:
    frames = FrameTensors(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8), torch.device("cpu"))
    starts = clip_starts(40, clip_length=10, stride=stride, drop_last=False)
    prepared = []

    def prepare(frames_FCHW: torch.Tensor) -> torch.Tensor:
        prepared.append(len(frames_FCHW))
        return frames_FCHW[..., ::2].float()

    windows = WindowTensors(frames, prepare, starts=starts, length=10, batch_size=8)
    found = [windows[slice(first, min(first + rows, len(windows)))] for first in range(0, len(windows), rows)]
    expected = cut_clips(frames[0:40][..., ::2].float(), starts, 10)
    assert torch.equal(torch.cat(found), expected) and windows.shape == expected.shape
    assert sum(prepared) <= 40 and max(prepared) == 8


def test_a_shrunk_subject_waits_on_disk(on_disk: list[int]) -> None:
    frames, poses = render_clip(sample_identity(3), "talk", 30, 64, 3)
    small = resized(Subject("me", frames, poses, Fraction(10), "a person", {}), 48)
    assert small.frames.shape == (30, 48, 48, 3) and not small.frames.flags.writeable


def test_a_full_disk_is_one_line(on_disk: list[int], monkeypatch) -> None:
    class Full:
        def write(self, data: memoryview) -> None:
            raise OSError(28, "No space left on device")

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(Exception, match="cannot be written: ") as refused:
        collected(iter(np.zeros((30, 32, 32, 3), np.uint8)), 30, (32, 32))
    assert type(refused.value).__name__ == "ResourceError"
