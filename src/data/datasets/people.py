"""The benchmark `people`: the twelve rendered subjects."""

from src.data.datasets.base import Clip, Dataset
from src.data.rendered import SEEDS, kind_of


class People(Dataset):
    """`people_001` to `people_012`, drawn when they are asked for; there is nothing to fetch.

    Args:
        published: see `Dataset`; all twelve are always there.
    """

    name = "people"

    def __init__(self, *, published: int) -> None:
        self.published = published

    def clips(self) -> list[Clip]:
        return [Clip(name, {"rendered": kind_of(name), "seed": seed}, None) for name, seed in SEEDS.items()]
