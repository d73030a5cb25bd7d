"""DisCo (Wang et al. 2023, github.com/Wangt-CN/DisCo), as published and fine-tuned on the subject.

<subject>/training/groundsam_vis/00000.png.mask.png   from the user: 0 is background, anything else the person
<subject>/tsv/test.yaml                               one clip: the reference, then a row for each test pose
<subject>/tsv/train.yaml                              fine-tuning only: the training frames, over and over
<subject>/output/eval_visu/pred_gs.../                from DisCo: a PNG for each row of test.yaml
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from eval.benchmark.external.base import TRAINING, System, Task, render
from eval.benchmark.external.disco_tsv import write_split
from src.baselines.disco.skeletons import draw_skeletons
from src.common.atomic import atomic_path
from src.common.digests import fingerprint
from src.common.errors import UserError
from src.common.files import read_record, write_json
from src.common.reading import read_bytes
from src.media.pictures import MAX_IMAGE_BYTES, check_image, without_animation

MASKS = "groundsam_vis"
FOLDERS = "folders.txt"


@dataclass(frozen=True, kw_only=True)
class AnyDisCo(System):
    """Driven by skeletons from one reference frame.

    Attributes:
        guidance_scale, num_steps: of its sampling.
    """

    guidance_scale: float
    num_steps: int

    def export(self, task: Task) -> str | None:
        paths = [task.folder / TRAINING / MASKS / f"{index:05d}.png.mask.png" for index in range(self.num_frames)]
        if missing := [path for path in paths if not path.is_file()]:
            return (
                f"add {missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, masks of the person "
                "by Grounded-SAM (COMMANDS.md, step 2)"
            )
        written, known = task.folder / "tsv" / "masks.json", fingerprint(paths)
        if (read_record(written) or {}).get("masks") != known:
            self._write(task, [_read_mask(path, task.size) for path in paths])
            write_json(written, {"masks": known})
        return None

    def _write(self, task: Task, masks: Sequence[np.ndarray]) -> None:
        reference = draw_skeletons(task.training_poses[[0]], task.size)
        write_split(
            task.folder / "tsv",
            "test",
            keys=keys(task.name, 1 + task.num_poses),
            # The loader wants an image and a mask in every row; of the test rows the model sees the skeleton alone.
            images=[task.training()[0], *task.held_out()],
            poses=[*reference, *draw_skeletons(task.test_poses, task.size)],
            masks=[masks[0]] * (1 + task.num_poses),
            caption=task.prompt,
        )

    def finish_export(self, root: Path, tasks: Sequence[Task]) -> None:
        # Grounded-SAM takes its folders from a list; subjects that have their masks need it no more.
        done = {task.folder.name for task in tasks}
        todo = [path.resolve() for path in sorted(root.glob(f"*/{TRAINING}")) if path.parent.name not in done]
        with atomic_path(root / FOLDERS) as temporary:
            temporary.write_text("".join(f"{path}\n" for path in todo), "utf-8")

    def find_output(self, task: Task) -> list[Path] | None:
        found = sorted(path for path in (task.folder / "output").glob("eval_visu/pred_gs*") if path.is_dir())
        if not found:
            return None
        if len(found) > 1:
            raise UserError(f"{found[0].parent} holds {len(found)} runs of DisCo: leave one pred_gs... folder")
        names = [f"{key.replace('.', '')}.png" for key in keys(task.name, 1 + task.num_poses)]
        there = set(os.listdir(found[0]))
        if missing := [name for name in names[1:] if name not in there]:
            raise UserError(
                f"{found[0]} has {len(names) - 1 - len(missing)} of {len(names) - 1} generated frames, {missing[0]} is "
                "not there: run DisCo to the end"
            )
        if unknown := sorted(there - set(names)):
            raise UserError(f"{found[0]} holds {unknown[0]}, which is no frame of {task.name}: leave its own alone")
        return [found[0] / name for name in names[1:]]

    def commands(self, root: Path, tasks: Sequence[Task]) -> str:
        return render("disco.md.j2", self._values(root, tasks))

    def _values(self, root: Path, tasks: Sequence[Task]) -> dict[str, Any]:
        return {
            **{"name": self.name, "root": root, "size": tasks[0].size, "fine_tune": False},
            **{"guidance_scale": self.guidance_scale, "num_steps": self.num_steps},
            "partitions": " ".join(str(first) for first in range(0, len(tasks), 10)),
        }


@dataclass(frozen=True, kw_only=True)
class DisCo(AnyDisCo):
    """The public checkpoint."""

    kind: Literal["disco"]


@dataclass(frozen=True, kw_only=True)
class DisCoFineTuned(AnyDisCo):
    """The public checkpoint after its own human-specific fine-tuning on the N training frames.

    Attributes:
        iterations, learning_rate, batch_size: of the fine-tuning.
        min_rows: the frames are repeated until there are as many rows, which its loader needs for whole batches.
    """

    kind: Literal["disco_ft"]
    iterations: int
    learning_rate: float
    batch_size: int
    min_rows: int

    def _write(self, task: Task, masks: Sequence[np.ndarray]) -> None:
        super()._write(task, masks)
        rows = -(-self.min_rows // self.num_frames) * self.num_frames
        write_split(
            task.folder / "tsv",
            "train",
            keys=keys(task.name, rows),
            images=list(islice(cycle(task.training()), rows)),
            poses=list(islice(cycle(draw_skeletons(task.training_poses, task.size)), rows)),
            masks=list(islice(cycle(masks), rows)),
            caption=task.prompt,
        )

    def _values(self, root: Path, tasks: Sequence[Task]) -> dict[str, Any]:
        return super()._values(root, tasks) | {
            **{"fine_tune": True, "iterations": self.iterations, "learning_rate": self.learning_rate},
            **{"batch_size": self.batch_size, "checkpoint": f"{self.iterations - 1}.pth"},
        }


def keys(name: str, count: int) -> list[str]:
    """Names of a clip's rows.

    >>> keys("ted_001", 2)
    ['ted_001_000000.png', 'ted_001_000001.png']
    """
    return [f"{name}_{index:06d}.png" for index in range(count)]


def _read_mask(path: Path, size: int) -> np.ndarray:
    data = read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
    check_image(data, str(path))
    labels = cv2.imdecode(np.frombuffer(without_animation(data), np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2 or labels.shape != (size, size):
        shape = "no readable image" if labels is None else "x".join(map(str, labels.shape))
        raise UserError(f"{path} is {shape}, expected a mask of one channel and {size}x{size} pixels")
    if not labels.any():
        raise UserError(f"{path} is empty: no person was found; mark the person with any value but 0")
    return np.repeat(np.where(labels > 0, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
