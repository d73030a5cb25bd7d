"""A pool of rendered people on disk, for training the miniature models.

Dimensions: N frames of the pool, H×W pixels, K = 128 keypoints, B frames of a batch.

The pool is a folder of shards (`shard_00000`, …), each whole or absent, so that rendering resumes where it was
interrupted and training can begin on the part that is there. Identities come in the order of their seeds: any
prefix of the pool is a fair sample of it.
"""

import hashlib
import itertools
import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from src.common.arrays import map_npy
from src.common.atomic import atomic_path
from src.common.errors import DamagedFile, UserError
from src.common.files import write_json
from src.common.progress import track
from src.common.reading import read_json
from src.miniature.rows import gather
from src.people.identity import describe, sample_identity
from src.people.render import KINDS, render_frame
from src.pose.draw import draw_poses
from src.pose.keypoints import NUM_KEYPOINTS

log = logging.getLogger(__name__)

SHARD_IDENTITIES = 50
ARRAYS = ("frames", "drawings", "xy", "mask")


@dataclass(frozen=True)
class PeoplePool:
    """Frames of many rendered people, mapped from disk.

    Attributes:
        frames: (N, H, W, 3) uint8 RGB.
        drawings: (N, H, W, 3) uint8 RGB, `draw_poses` of the frame's keypoints.
        xy: (N, K, 2) float32 in units of the frame.
        mask: (N, K) bool, which keypoints are seen.
        prompts: N sentences that describe the person.
        fingerprint: tells pools of equal size apart.
    """

    frames: list[np.ndarray]
    drawings: list[np.ndarray]
    xy: np.ndarray
    mask: np.ndarray
    prompts: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.prompts)

    def __deepcopy__(self, memo: dict) -> "PeoplePool":
        # Read-only: a copy of a model that holds the pool need not copy gigabytes.
        return self

    def gather(self, name: str, index: np.ndarray) -> np.ndarray:
        """Copy the chosen frames (B, H, W, 3) of `frames` or `drawings`."""
        return gather(getattr(self, name), index)


def render_pool(
    folder: str | Path,
    *,
    identities: int,
    frames_per_identity: int,
    size: int,
    first_seed: int,
    workers: int | None = 1,
) -> PeoplePool:
    """Render what is missing of a pool, then open it.

    Each identity is seen in random poses, in turn from every kind of clip. A frame depends on its identity's seed
    and its number alone, whatever the number of workers.

    Args:
        folder: where the shards lie.
        identities: how many people, a multiple of 50; seeds `first_seed` and up.
        frames_per_identity: pictures of each.
        size: side of the square pictures in pixels.
        first_seed: seed of the first identity.
        workers: processes that render; None: one for every core that this process may use.

    Raises:
        UserError: the number of identities is not a multiple of a shard's, or the folder holds another pool.
    """
    if identities <= 0 or identities % SHARD_IDENTITIES:
        raise UserError(f"identities={identities}: give a positive multiple of {SHARD_IDENTITIES}")
    folder = Path(folder)
    meta = {"frames_per_identity": frames_per_identity, "size": size, "first_seed": first_seed}
    _check_meta(folder, meta)
    paths = [folder / f"shard_{number:05d}" for number in range(identities // SHARD_IDENTITIES)]
    shards = []
    for number, path in enumerate(paths):
        seeds = range(first_seed + number * SHARD_IDENTITIES, first_seed + (number + 1) * SHARD_IDENTITIES)
        if not path.is_dir():
            shards.append((path, seeds, frames_per_identity, size))
    workers = min(len(shards), workers or len(os.sched_getaffinity(0)))
    if workers > 1:
        # Spawned: a forked child would share the parent's locks and threads.
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for path in track(pool.imap(_render_shard, shards), "rendering people", total=len(shards)):
                log.info("rendered %s", path)
    else:
        for path in map(_render_shard, track(shards, "rendering people")):
            log.info("rendered %s", path)
    return open_pool(folder, identities=identities)


def open_pool(folder: str | Path, *, identities: int | None = None) -> PeoplePool:
    """Open the finished shards of a pool, in order; `identities` limits how many people.

    Raises:
        UserError: there is no finished shard, or one is damaged.
    """
    paths = sorted(Path(folder).glob("shard_?????"))
    if identities is not None:
        paths = paths[: identities // SHARD_IDENTITIES]
    if not paths:
        raise UserError(f"{folder} holds no rendered people: `python -m src.pretrain part=vae` renders them")
    shards = [_open_shard(path) for path in paths]
    arrays = {name: [shard[name] for shard, _ in shards] for name in ARRAYS}
    if len({shard["frames"].shape for shard, _ in shards}) != 1:
        raise DamagedFile(f"{folder}: its shards differ in size: choose another folder, where they are rendered again")
    prompts = [prompt for _, shard_prompts in shards for prompt in shard_prompts]
    xy, mask = np.concatenate(arrays["xy"]), np.concatenate(arrays["mask"])
    fingerprint = hashlib.sha256(xy.tobytes() + "".join(prompts).encode()).hexdigest()[:12]
    return PeoplePool(arrays["frames"], arrays["drawings"], xy, mask, prompts, fingerprint)


def _open_shard(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    arrays = {name: map_npy(path / f"{name}.npy") for name in ARRAYS}
    prompts = read_json(path / "prompts.json")
    count, *size = arrays["frames"].shape
    pictures, points = (count, *size), (count, NUM_KEYPOINTS)
    wanted = {"frames": (pictures, "uint8"), "drawings": (pictures, "uint8")}
    wanted |= {"xy": ((*points, 2), "float32"), "mask": (points, "bool")}
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if found != wanted or len(size) != 3 or size[2] != 3:
        raise DamagedFile(f"{path} is no shard of rendered people: its arrays are {found}: move it away")
    if not isinstance(prompts, list) or len(prompts) != count or not all(isinstance(text, str) for text in prompts):
        raise DamagedFile(f"{path / 'prompts.json'}: expected a list of {count} sentences")
    return arrays, prompts


def _check_meta(folder: Path, meta: dict[str, int]) -> None:
    path = folder / "pool.json"
    if not path.exists():
        write_json(path, meta)
    elif (found := read_json(path)) != meta:
        raise UserError(f"{folder} holds another pool ({found}, wanted {meta}): choose another folder")


def _render_shard(shard: tuple[Path, range, int, int]) -> Path:
    """Render one shard (its folder, seeds, frames to an identity and size) and say where it is."""
    path, seeds, frames_per_identity, size = shard
    frames, poses, prompts = [], [], []
    for seed in seeds:
        identity = sample_identity(seed)
        for number in range(frames_per_identity):
            frame, pose = render_frame(
                identity, KINDS[number % len(KINDS)], size, np.random.default_rng([seed, number])
            )
            frames.append(frame)
            poses.append(pose)
            prompts.append(describe(identity))
    sequence = poses[0].concatenate(*poses)
    with atomic_path(path) as temporary:
        temporary.mkdir()
        np.save(temporary / "frames.npy", np.stack(frames))
        np.save(temporary / "drawings.npy", draw_poses(sequence, size))
        np.save(temporary / "xy.npy", sequence.xy)
        np.save(temporary / "mask.npy", sequence.mask)
        (temporary / "prompts.json").write_text(json.dumps(prompts), "utf-8")
    return path


def batch_indices(count: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Indices below `count`, in batches (B,), for ever: every pass over the pool is another permutation of it."""
    rng = np.random.default_rng(seed)
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


class IndexBatches(IterableDataset):
    """Endless batches of pool indices, as int64 tensors (B,).

    The models gather what they need of the pool themselves: worker processes would take the cores from training.
    A resumed run leaves out the first `start` batches and so goes on as an unbroken one would; of several processes
    each takes every `every`-th.
    """

    def __init__(self, count: int, *, batch_size: int, seed: int, start: int, every: int) -> None:
        super().__init__()
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.start, self.every = start, every

    def __iter__(self) -> Iterator[Tensor]:
        batches = batch_indices(self.count, self.batch_size, self.seed)
        return map(torch.from_numpy, itertools.islice(batches, self.start, None, self.every))
