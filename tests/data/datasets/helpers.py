"""DisCo's TSV layout, written for tests."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def encode(frame_HWC: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, frame_HWC[..., ::-1])[1].tobytes()


def write_split(
    root: Path, clips: Sequence[Sequence[bytes]], *, split: str = "val", relative: bool = False, index: str = "both"
) -> None:
    """Write clips of encoded images as `<split>_images.tsv` and `<split>_vid2line.tsv`."""
    root.mkdir(parents=True, exist_ok=True)
    images, ranges, row = [], [], 0
    for number, clip in enumerate(clips):
        first, last = row, row + len(clip) - 1
        for frame, data in enumerate(clip, 1):
            key = f"Custom_{number:03d}_{frame:06d}.png"
            images.append(f"{key}\t{base64.b64encode(data).decode()}\n")
            shift = row if relative else 0
            ranges.append(f"{key}\t{json.dumps([first - shift, last - shift])}\n")
            row += 1
    for name, lines in (("images", images), ("vid2line", ranges)):
        path = root / f"{split}_{name}.tsv"
        path.write_text("".join(lines))
        offsets = np.cumsum([0, *map(len, lines)])[:-1]
        if index in ("text", "both"):
            path.with_suffix(".lineidx").write_text("".join(f"{offset}\n" for offset in offsets))
        if index in ("binary", "both"):
            path.with_suffix(".lineidx.8b").write_bytes(offsets.astype("<u8").tobytes())


def random_clips(lengths: Sequence[int], *, size: int = 32, seed: int = 0) -> list[list[bytes]]:
    """JPEG and PNG frames in turn, all different."""
    rng = np.random.default_rng(seed)
    suffixes = (".jpg", ".png")
    return [
        [encode(rng.integers(0, 256, (size, size, 3), np.uint8), suffixes[number % 2]) for _ in range(length)]
        for number, length in enumerate(lengths)
    ]
