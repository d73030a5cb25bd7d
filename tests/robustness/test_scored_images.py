"""Images that are scored, with bytes changed and with other things under their names: frames, or one line."""

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eval.scoring.images import read_image, read_images, read_pictures
from src.common.errors import UserError
from tests.robustness.malformed import fuzzed, mutated, outcome, time_limit

FRAMES = [np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8) for seed in range(3)]


def encoded(kind: str) -> bytes:
    if kind in (".exr.tif", ".16.png"):
        samples = FRAMES[0].astype(np.float32) / 255 if kind == ".exr.tif" else FRAMES[0].astype(np.uint16) * 257
        # As they are: OpenCV would compress floats with loss.
        return cv2.imencode(kind[-4:], samples, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    file = io.BytesIO()
    first, *others = map(Image.fromarray, FRAMES)
    first.save(file, {".tif": "TIFF", ".webp": "WEBP", ".png": "PNG"}[kind], save_all=True, append_images=others)
    return file.getvalue()


VALID = {kind: encoded(kind) for kind in (".png", ".tif", ".webp", ".16.png", ".exr.tif")}


@pytest.mark.parametrize("kind", VALID)
@fuzzed
@given(data=st.data())
def test_damaged_images(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / f"image{kind[-5:]}"
    path.write_bytes(VALID[kind])
    assert len(read_pictures(path)[0]) == (1 if kind[1:2].isdigit() or "exr" in kind else 3)
    path.write_bytes(data.draw(mutated(VALID[kind])))
    for read in (lambda path: read_pictures(path)[0], read_image, lambda path: read_images([path])[0]):
        frames = outcome(lambda read=read: read(path))
        assert frames is None or (frames.dtype == np.uint8 and frames.shape[-1] == 3)


@pytest.mark.parametrize("read", [read_image, read_pictures])
def test_no_interpreter_is_given_what_is_called_an_image(tmp_path: Path, monkeypatch, read) -> None:
    """Pillow hands PostScript to Ghostscript, and to ask whether it is transparent was enough."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%transparency: 1\n%%EndComments\n"
    (tmp_path / "0.png").write_bytes(head)
    with pytest.raises(UserError, match=r"0\.png is not a readable image: expected PNG, JPEG, WEBP, BMP, TIFF"):
        read(tmp_path / "0.png")
    assert not (tmp_path / "owned").exists(), "it ran"


@pytest.mark.parametrize("read", [read_image, read_pictures])
def test_a_floating_point_image_is_not_larger_than_what_is_read(tmp_path: Path, read) -> None:
    """Which Pillow cannot open, and OpenCV takes the memory for whatever its head says."""
    data = bytearray(VALID[".exr.tif"])
    tags = int.from_bytes(data[4:8], "little")
    for entry in range(tags + 2, tags + 2 + 12 * int.from_bytes(data[tags : tags + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") in (256, 257):
            data[entry + 2 : entry + 12] = struct.pack("<HLL", 4, 1, 30_000)
    (tmp_path / "0.tif").write_bytes(data)
    with pytest.raises(UserError, match="has frames of 30000x30000 pixels"):
        read(tmp_path / "0.tif")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing", "empty", "huge"])
@pytest.mark.parametrize("read", [read_image, read_pictures])
def test_what_is_no_image_is_not_waited_for(tmp_path: Path, kind: str, read) -> None:
    path = tmp_path / "00000.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(2**36)
    with time_limit(10), pytest.raises(UserError, match="00000.png"):
        read(path)
