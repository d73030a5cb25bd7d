"""What each metric made of each clip, on disk: scoring that was stopped goes on from there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics import Metric

from src.common.atomic import atomic_path
from src.common.digests import digest
from src.common.errors import UserError
from src.models.weights_file import read_tensors


class ClipStore:
    """One file a clip and metric, named by all that the metric's state depends on; they never grow old.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: Sequence[Any], metric: Metric) -> bool:
        """Put the state of before into a fresh metric; whether there was one.

        Args:
            key: JSON values that name the clip's content, the metric, its network and all choices.
        """
        path = self._path(key)
        if not path.is_file():
            return False
        try:
            found = read_tensors(str(path), option="resume")
        except UserError:
            return False  # computed again and written over
        if not all(name in found and _fits(found[name], default) for name, default in metric._defaults.items()):
            return False
        for name, default in metric._defaults.items():
            state = found[name].to(metric.device)
            setattr(metric, name, [state] if isinstance(default, list) else state)
        return True

    def save(self, key: Sequence[Any], metric: Metric) -> None:
        """Keep the state of a metric that has seen the one clip."""
        state: Mapping[str, Any] = {name: getattr(metric, name) for name in metric._defaults}
        tensors = {
            name: (torch.cat(value) if isinstance(value, list) else value).cpu().contiguous()
            for name, value in state.items()
        }
        with atomic_path(self._path(key)) as temporary:
            save_file(tensors, temporary)

    def _path(self, key: Sequence[Any]) -> Path:
        return self.folder / f"{digest(list(key))}.safetensors"


def _fits(state: Tensor, default: Tensor | list[Any]) -> bool:
    """Whether a tensor, which anybody may have written, can be that state: rows of samples, or a number of its type."""
    if isinstance(default, list):
        fits = state.ndim == 2 and state.is_floating_point()
    else:
        # Whole numbers are counts.
        fits = state.shape == default.shape and state.dtype == default.dtype
        fits = fits and (state.is_floating_point() or bool((state >= 0).all()))
    return fits and bool(state.isfinite().all())
