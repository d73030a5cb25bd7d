"""The benchmark `people`: the twelve rendered subjects."""

from src.data.datasets.base import Dataset, DatasetClip
from src.data.rendered import SEEDS, kind_of


class People(Dataset):
    """`people_001` to `people_012`, drawn when they are asked for; there is nothing to fetch.

    Args:
        num_published_clips: see `Dataset`; all twelve are always there.
    """

    name = "people"

    def __init__(self, *, num_published_clips: int) -> None:
        self.num_published_clips = num_published_clips

    def clips(self) -> list[DatasetClip]:
        return [DatasetClip(name, {"rendered": kind_of(name), "seed": seed}, None) for name, seed in SEEDS.items()]
