"""Settings of the networks that judge."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.common.errors import UserError
from src.common.typed import FilePath
from src.pose.extractors.base import PoseExtractor

if TYPE_CHECKING:
    from eval.networks.networks import Networks
    from eval.networks.weights import WeightStore


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Where networks come from and where they run. None of it changes a number.

    Attributes:
        weights: folder with the networks' files; None: torch's and the Hugging Face hub's caches.
        download: fetch what is in neither place; also of a pose extractor.
        device: auto, cpu, cuda or cuda:N.
        batch_size: frames a forward pass.
    """

    weights: FilePath | None = None
    download: bool = True
    device: str = "auto"
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.weights is not None and not os.path.isdir(self.weights):
            raise UserError(f"weights={self.weights} is not a folder: name the one that holds the networks' files")

    def open(self, extractor: PoseExtractor) -> "Networks":
        """The networks that a run may ask for; poses of MSE-P by `extractor`."""
        # Seconds of imports that `--help` and a misspelt setting need not wait for.
        from eval.networks.networks import Networks, choose_device

        extractor.download = self.download
        device = choose_device(self.device)
        return Networks(self.store(), extractor=extractor, device=device, batch_size=self.batch_size)

    def store(self) -> "WeightStore":
        """Where the networks' files are found."""
        from eval.networks.weights import WeightStore

        return WeightStore(self.weights, self.download)
