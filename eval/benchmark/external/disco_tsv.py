"""DisCo's TSV files, written as the loader of its public code reads them (github.com/Wangt-CN/DisCo).

Dimensions: R rows, S x S pixels, RGB uint8.

    <split>.yaml            names of the files below
    <split>_images.tsv      key <tab> PNG in base64
    <split>_poses.tsv       key <tab> drawn skeleton in base64
    <split>_masks.tsv       key <tab> mask in base64, white where the person is <tab> True
    <split>_vid2line.tsv    key <tab> [first, last] row of the clip, counted from this row; the first is the reference
    <split>_caption.tsv     key <tab> [{"caption": ...}]; the loader takes its number of rows from this file
    <split>_*.lineidx       byte offset of each row as text; .lineidx.8b: as little-endian 64-bit integers

What the project's own script for custom data writes differs in three points, and its loader cannot use it: its YAML
names `<split>_img.tsv`, there is no caption file, and `vid2line` counts from the start of the file.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from src.common.atomic import atomic_path

FIELDS = {"img": "images", "poses": "poses", "masks": "masks", "vid2line": "vid2line", "caption": "caption"}


def write_split(
    folder: Path,
    split: str,
    *,
    keys: Sequence[str],
    images: Sequence[np.ndarray],
    poses: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    caption: str,
) -> None:
    """Write one clip of R rows as the split's files, the YAML last.

    Args:
        keys: names of the frames; DisCo names its output after them.
        images, poses, masks: R pictures each, (S, S, 3) uint8 RGB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = len(keys) - 1
    rows = {
        "img": ([key, _encode(image)] for key, image in zip(keys, images, strict=True)),
        "poses": ([key, _encode(pose)] for key, pose in zip(keys, poses, strict=True)),
        "masks": ([key, _encode(mask), "True"] for key, mask in zip(keys, masks, strict=True)),
        "vid2line": ([key, json.dumps([-row, last - row])] for row, key in enumerate(keys)),
        "caption": ([key, json.dumps([{"caption": caption}])] for key in keys),
    }
    for field, name in FIELDS.items():
        lines = [("\t".join(columns) + "\n").encode() for columns in rows[field]]
        offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])[:-1]]).astype("<u8")
        path = folder / f"{split}_{name}.tsv"
        for suffix, content in (
            (".tsv", b"".join(lines)),
            (".lineidx", "".join(f"{offset}\n" for offset in offsets).encode()),
            (".lineidx.8b", offsets.tobytes()),
        ):
            with atomic_path(path.with_suffix(suffix)) as temporary:
                temporary.write_bytes(content)
    with atomic_path(folder / f"{split}.yaml") as temporary:
        files = {field: f"{split}_{name}.tsv" for field, name in FIELDS.items()}
        temporary.write_text(yaml.safe_dump({"composite": False, **files}))


def _encode(image: np.ndarray) -> str:
    _, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    return base64.b64encode(data.tobytes()).decode()
