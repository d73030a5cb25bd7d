"""Gen-2 (Runway), a closed web service: an image and a text go up by hand, a video comes down.

<subject>/training/00000.png   the reference, to be uploaded
<subject>/prompt.txt           the text
<subject>/output/              from the user: the M frames of S x S pixels, as images
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval.benchmark.external.base import System, Task, is_image, render
from src.common.atomic import atomic_path
from src.common.files import natural_key


@dataclass(frozen=True, kw_only=True)
class Gen2(System):
    """The service follows no poses: what it is given is all that it can be given."""

    kind: Literal["gen2"]

    def export(self, task: Task) -> str | None:
        path = task.folder / "prompt.txt"
        if not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(task.prompt + "\n", "utf-8")
        return None

    def find_output(self, task: Task) -> list[Path] | None:
        images = [path for path in (task.folder / "output").glob("*") if is_image(path)]
        return sorted(images, key=lambda path: natural_key(path.name)) or None

    def commands(self, root: Path, tasks: Sequence[Task]) -> str:
        # All subjects have as many test poses, but for clips too short for that.
        values = {"name": self.name, "root": root, "size": tasks[0].size, "fps": f"{tasks[0].fps:g}"}
        return render("gen2.md.j2", values | {"count": max(task.num_poses for task in tasks)})
