"""Settings of the report."""

from dataclasses import dataclass

from src.common.typed import check_choice, check_range

# The folders that a report has in its own, some of them of a sweep alone.
WRITTEN = ("cards", "features", "grids", "scores")


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """What the page shows.

    Attributes:
        num_videos: how many subjects of each table come with a video, worst first.
        rank_by: the metric that decides; None: the first of the registry that subjects were measured by.
        video_height: in pixels.
    """

    num_videos: int = 12
    rank_by: str | None = None
    video_height: int = 256

    def __post_init__(self) -> None:
        check_range("num_videos", self.num_videos, least=0)
        check_range("video_height", self.video_height, least=2)
        if self.rank_by is not None:
            from eval.metrics.registry import REGISTRY

            check_choice("rank_by", self.rank_by, tuple(REGISTRY))
