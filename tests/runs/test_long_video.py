"""Writing a video of thousands of frames takes the memory of a few: what is on disk stays there."""

import tracemalloc

import numpy as np
import pytest

from src.common.arrays import MadeFrames
from src.media.contact_sheet import Row
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.runs.generated import Beside, write_drift, write_generated
from src.sampling.jobs import GeneratedClip

SIDE = 64


@pytest.fixture
def peak_of_writing(tmp_path):
    """Bytes that writing a video of so many frames takes at most, above what was there before."""
    frames, poses = render_clip(sample_identity(3), "talk", 2, SIDE, 3)

    def peak(count: int) -> int:
        order = [i % 2 for i in range(count)]
        path = tmp_path / f"{count}.npy"
        np.save(path, frames[order])
        clip = GeneratedClip(np.load(path, mmap_mode="r"), poses[order], 10.0, (), frames[0], {})
        beside = Row("driver", MadeFrames(lambda i: frames[i % 2], count, (SIDE, SIDE)))
        tracemalloc.start()
        write_generated(tmp_path / str(count), clip, Beside(frames=beside))
        write_drift(tmp_path / str(count), clip)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    return peak


def test_the_memory_of_writing_does_not_grow_with_the_frames(peak_of_writing):
    # The first call brings what is loaded once.
    peak_of_writing(2)
    few, many = peak_of_writing(20), peak_of_writing(120)
    assert many - few < 10 * SIDE * SIDE * 3, (few, many)
