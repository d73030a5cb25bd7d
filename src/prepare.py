"""Turn a clip, or a data set of clips, into subjects: frames of one size and poses, cached.

python -m src.prepare video=clip.mp4 name=me
python -m src.prepare dataset=tiktok dataset.root=<folder of DisCo's TSV files>
"""

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.app.sweep import in_sweep
from src.common.errors import UserError
from src.common.typed import FileName, Raw
from src.data.datasets.settings import DatasetSettings
from src.data.settings import DataSettings
from src.data.subject import check_prompt
from src.pose.extractors.settings import ExtractorSettings

if TYPE_CHECKING:
    from src.data.manifest import PreparedDataset
    from src.data.subject import Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What `conf/prepare.yaml` describes.

    Attributes:
        video: video file or folder of images; null: a data set.
        name: of the subject; null: the file's own.
        dataset: to prepare all of; null: one video.
        subjects: of a data set, the names to prepare; null: all.
        prompt: what the clips show; null: as it is in subject.yaml.
        force: make everything again, poses included.
    """

    data: DataSettings
    pose: ExtractorSettings
    dataset: DatasetSettings | None = None
    video: FileName | None = None
    name: FileName | None = None
    subjects: list[str] | None = None
    prompt: Raw | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.dataset is not None and (self.video is not None or self.name is not None):
            raise UserError("dataset= names its clips and their subjects itself: leave out video= and name=")
        if self.dataset is None and not self.video:
            raise UserError("nothing to prepare: give video=<file or folder of images>, or dataset=<data set>")
        if self.dataset is None and self.subjects is not None:
            raise UserError(
                f"subjects={self.subjects} chooses among the clips of a data set, and video= is one clip: leave it out"
            )
        check_prompt(self.prompt)


def prepare(settings: PrepareSettings) -> "Subject | PreparedDataset":
    """Prepare one clip, or all of a data set.

    Raises:
        UserError: all that preparing raises.
    """
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from src.data.manifest import prepare_dataset
    from src.data.prepare import Recipe, prepare_subject
    from src.data.resolve import default_name

    data = settings.data
    recipe = Recipe(
        clip=data.clip if settings.dataset is None else data.square_clip,
        extractor=settings.pose.build(),
        root=data.root,
        prompt=settings.prompt,
        force=settings.force,
    )
    if settings.dataset is not None:
        dataset, num_test = settings.dataset.build(), data.num_test_frames
        return prepare_dataset(dataset, recipe, num_test=num_test, only=settings.subjects)
    assert settings.video, "the settings have checked it"
    video = Path(settings.video)
    name = default_name(video, data.root) if settings.name is None else settings.name
    subject = prepare_subject(video, recipe, name=name)
    if not in_sweep():
        elsewhere = [] if data.root == DataSettings().root else [f"data.root={data.root}"]
        told = shlex.join([f"subject={subject.name}", *elsewhere])
        log.info("to learn the person: python -m src.train %s", told)
    return subject


@entry("prepare", PrepareSettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    prepare(settings_of(PrepareSettings, cfg))


if __name__ == "__main__":
    main()
