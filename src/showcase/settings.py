"""Settings of the look at poses, and of the gallery: what is shown, and with which settings it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from src.common.counting import counted
from src.common.errors import UserError
from src.common.typed import FileName, Raw, check_choice, check_range, setting
from src.data.pose_sources import PoseSourceSettings
from src.data.rendered import SEEDS
from src.models.settings import refuse_controlnets
from src.pose.retarget import RetargetMode
from src.runs.settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class LookSettings(PoseSourceSettings):
    """What `conf/poses.yaml` describes.

    Attributes:
        subject: whom the poses are for: its N training frames are what they are compared with.
        run: or the run that is to generate them: its own training frames.
        output: null: outputs/poses/<name of the poses>, with -2, -3, … where a look at others is.
    """

    subject: FileName | None = None
    run: FileName | None = None
    output: FileName | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run is not None and self.subject is not None:
            raise UserError(
                f"run={self.run} and subject={self.subject} both say who the poses are for: give one of them"
            )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of generating the subject.

    Attributes:
        poses, retarget, prompt: as of `src.sample`.
        method, sampling: changes to the run's.
    """

    poses: FileName
    retarget: RetargetMode | None = None
    prompt: Raw | None = None
    method: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GenerateItem:
    """The subject generated in variants, by label; `driver`: a rendered person whose frames are shown first."""

    kind: Literal["generate"]
    caption: str
    variants: Mapping[str, Variant]
    driver: str | None = None


@dataclass(frozen=True, kw_only=True)
class LookItem:
    """`src.poses show`: target poses and the training frames nearest to them."""

    kind: Literal["look"]
    caption: str
    poses: FileName
    driver: str | None = None


@dataclass(frozen=True, kw_only=True)
class RepairItem:
    """`src.repair` of the subject's first frames, of which a segment has become coarse blocks."""

    kind: Literal["repair"]
    caption: str
    frames: int
    segment: tuple[int, int]
    driver: str | None = None


Item = Annotated[GenerateItem | LookItem | RepairItem, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class GallerySettings(LearningSettings):
    """What `conf/gallery.yaml` describes.

    Attributes:
        subject: a rendered person.
        folder: of the pictures.
        columns: pictures in a row.
        cell: their side in pixels.
        pictures: by name; each counts for itself.
    """

    subject: str
    folder: FileName = setting(counts="nothing")
    columns: int = setting(8, counts="nothing")
    cell: int = setting(104, counts="nothing")
    pictures: Mapping[str, Item] = setting(counts="nothing")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_controlnets(self.model, "the gallery films poses that have no frames")
        check_choice("subject", self.subject, tuple(SEEDS))
        check_range("columns", self.columns, least=1)
        check_range("cell", self.cell, least=16)
        for name, item in self.pictures.items():
            check_choice(f"pictures.{name}.driver", item.driver or self.subject, tuple(SEEDS))
            if isinstance(item, RepairItem) and not 0 <= item.segment[0] <= item.segment[1] < item.frames:
                raise UserError(
                    f"pictures.{name}.segment={list(item.segment)} is not in its {counted(item.frames, 'frame')}"
                )
