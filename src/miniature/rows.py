"""Rows of an array too large to copy, gathered where the model is.

Dimensions: N rows, B rows of a batch.
"""

import numpy as np
import torch
from torch import Tensor


def gather(shards: list[np.ndarray], index_B: np.ndarray) -> np.ndarray:
    """Copy the chosen rows (B, …) of shards of equal length."""
    size = len(shards[0])
    return np.stack([shards[i // size][i % size] for i in index_B])


class Rows:
    """N rows in shards of equal length, mapped from disk; on a GPU with room for them all, kept there.

    Args:
        shards: arrays (N / number of shards, …) of one dtype.
    """

    def __init__(self, shards: list[np.ndarray]) -> None:
        self.shards = shards
        self.resident: Tensor | None = None

    def __deepcopy__(self, memo: dict) -> "Rows":
        # Read-only: a copy of a model that holds the rows need not copy gigabytes.
        return self

    @property
    def nbytes(self) -> int:
        return sum(shard.nbytes for shard in self.shards)

    def keep_on(self, device: torch.device) -> None:
        """Copy all rows to `device`, from where they are gathered from then on: a processor would not keep up."""
        self.resident = torch.from_numpy(np.concatenate(self.shards)).to(device)

    def gather(self, index_B: np.ndarray, device: torch.device) -> Tensor:
        """The chosen rows (B, …) on `device`, in the dtype they are stored in."""
        if self.resident is not None:
            # A trainer that is done puts the model back, and the rows stay.
            return self.resident[torch.from_numpy(index_B).to(self.resident.device)].to(device)
        return torch.from_numpy(gather(self.shards, index_B)).to(device)
