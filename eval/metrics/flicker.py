"""Temporal flickering of a generated video, as VBench measures it."""

from collections.abc import Collection
from itertools import pairwise
from typing import ClassVar, cast

from torch import Tensor

from eval.metrics.base import MeanMetric, NotComputable


class Flicker(MeanMetric):
    """1 - mean absolute difference of consecutive frames / 255, of each video, then over videos.

    Range [0, 1], higher is better, 1 for a still video: motion lowers it as flicker does, so it compares videos of the
    same motion. Resolution: the frames' own. Colour: 8-bit RGB. Pooling: each video weighs the same. Network: none.
    Source: Huang et al. 2024 (VBench), `temporal_flickering`.
    """

    unit: ClassVar[str] = "videos"

    def update(self, generated: Collection[Tensor]) -> None:
        """Add one whole video: F frames (3, H, W) uint8 RGB.

        Raises:
            NotComputable: fewer than two frames.
        """
        if len(generated) < 2:
            raise NotComputable(f"flicker compares consecutive frames and needs at least 2, got {len(generated)}")
        changes = [(after.int() - before.int()).abs().double().mean() for before, after in pairwise(generated)]
        total = cast(Tensor, sum(changes))
        self._add((1 - total / (len(generated) - 1) / 255)[None], frames=len(generated))

    def details(self) -> dict[str, int | float | str]:
        return super().details() | {"videos": int(self.count)}
