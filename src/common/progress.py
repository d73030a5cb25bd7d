"""The one progress bar of long work."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from lightning_utilities.core.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def progress_bar() -> Progress:
    """A bar with count, time spent, time left and a note; quiet outside the main process and away from a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    quiet = getattr(rank_zero_only, "rank", 0) != 0 or not sys.stderr.isatty()
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` under a bar; `total` where they have no length."""
    with progress_bar() as progress:
        total = len(items) if total is None and isinstance(items, Sized) else total
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)
