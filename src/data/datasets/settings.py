"""Settings of the data sets: the config group `dataset`."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_type_hints

from pydantic import Field

from src.common.errors import UserError
from src.common.typed import FileName, Raw, check_range
from src.data.datasets.base import Dataset


@dataclass(frozen=True, kw_only=True)
class BesideSettings:
    """What a user gives beside the clips of a data set, for methods that need it.

    Attributes:
        condition_root: folder with a DensePose rendering or part indices of each subject (`src.baselines.conditions`).
        mask_root: folder with masks of each subject (`src.baselines.masks`); null: MediaPipe makes them.
    """

    condition_root: FileName | None = None
    mask_root: FileName | None = None


@dataclass(frozen=True, kw_only=True)
class FolderSettings(BesideSettings):
    """Any clips, videos or folders of frames; see `Folder`."""

    kind: Literal["folder"]
    name: str
    root: FileName | None = None
    pattern: Raw = "*"
    fps: float | None = None
    num_published_clips: int | None = None

    def __post_init__(self) -> None:
        _check_root(self.root, "a folder of videos, or of folders of frames")
        check_range("dataset.fps", self.fps, above=0, most=1000)

    def build(self) -> Dataset:
        """Nothing is read yet."""
        from src.data.datasets.folder import Folder

        assert self.root is not None, "checked above"
        return Folder(
            name=self.name,
            root=self.root,
            pattern=self.pattern,
            num_published_clips=self.num_published_clips,
            fps=self.fps,
        )


@dataclass(frozen=True, kw_only=True)
class TikTokSettings(BesideSettings):
    """DisCo's ten TikTok test videos; see `TikTok`."""

    kind: Literal["tiktok"]
    cache: FileName
    root: FileName | None = None
    split: str | None = None
    pattern: Raw = "*"
    fps: float = 30.0
    num_published_clips: int = 10

    def __post_init__(self) -> None:
        _check_root(self.root, "a folder of DisCo's TSV files, or of folders of frames")
        check_range("dataset.fps", self.fps, above=0, most=1000)

    def build(self) -> Dataset:
        """Nothing is read yet."""
        from src.data.datasets.tiktok import TikTok

        assert self.root is not None, "checked above"
        return TikTok(
            root=self.root,
            split=self.split,
            pattern=self.pattern,
            cache=self.cache,
            num_published_clips=self.num_published_clips,
            fps=self.fps,
        )


@dataclass(frozen=True, kw_only=True)
class TEDSettings(BesideSettings):
    """TED speakers by the public list; see `TED`."""

    kind: Literal["ted"]
    cache: FileName
    metadata: FileName | None = None
    clips: FileName | None = None
    pattern: Raw = "*"
    partition: str = "test"
    crop_to_box: bool = True
    retry: bool = False
    num_published_clips: int | None = 128

    def build(self) -> Dataset:
        """Nothing is read or fetched yet.

        Raises:
            UserError: neither or both of `metadata` and `clips` are given.
        """
        from src.data.datasets.ted import TED

        return TED(
            metadata=self.metadata,
            clips=self.clips,
            pattern=self.pattern,
            partition=self.partition,
            crop_to_box=self.crop_to_box,
            cache=self.cache,
            retry=self.retry,
            num_published_clips=self.num_published_clips,
        )


@dataclass(frozen=True, kw_only=True)
class PeopleSettings(BesideSettings):
    """The twelve rendered people; see `People`."""

    kind: Literal["people"]
    num_published_clips: int = 12

    def build(self) -> Dataset:
        """Nothing is rendered yet."""
        from src.data.datasets.people import People

        return People(num_published_clips=self.num_published_clips)


def _check_root(root: str | None, what: str) -> None:
    if root is None:
        raise UserError(
            f'dataset.root is not set: give {what}: dataset.root=<folder>, or of make ARGS="dataset.root=<folder>"'
        )


DatasetSettings = Annotated[FolderSettings | TikTokSettings | TEDSettings | PeopleSettings, Field(discriminator="kind")]


def dataset_kinds() -> tuple[str, ...]:
    """What `dataset.kind` may be."""
    return tuple(get_args(get_type_hints(kind)["kind"])[0] for kind in get_args(get_args(DatasetSettings)[0]))
