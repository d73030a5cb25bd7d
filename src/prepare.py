"""Turn a clip, or a data set of clips, into subjects: square frames and poses, cached.

python -m src.prepare video=clip.mp4 name=me
python -m src.prepare dataset=tiktok dataset.root=<folder of DisCo's TSV files>
"""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src.app.entry import entry
from src.common.errors import UserError
from src.data.manifest import PreparedDataset, prepare_dataset
from src.data.resolve import default_name
from src.data.subject import ClipSettings, Subject, prepare_subject


def prepare(cfg: DictConfig) -> Subject | PreparedDataset:
    """Prepare what the configuration `prepare` names: one clip, or all of a data set.

    Raises:
        UserError: neither or both are named; and all that preparing raises.
    """
    prompt = None if cfg.prompt is None else str(cfg.prompt)
    how = {"extractor": instantiate(cfg.pose), "settings": ClipSettings.from_config(cfg.data), "root": cfg.data.root}
    if cfg.get("dataset") is not None:
        if cfg.video is not None or cfg.name is not None:
            raise UserError("dataset= names its clips and their subjects itself: leave out video= and name=")
        only = None if cfg.subjects is None else [str(name) for name in cfg.subjects]
        dataset, num_test = instantiate(cfg.dataset), cfg.data.num_test_frames
        return prepare_dataset(dataset, **how, num_test=num_test, only=only, prompt=prompt, force=cfg.force)
    if cfg.video is None:
        raise UserError("nothing to prepare: give video=<file or folder of images>, or dataset=<data set>")
    video = Path(str(cfg.video))
    name = default_name(video, cfg.data.root) if cfg.name is None else str(cfg.name)
    return prepare_subject(video, name=name, **how, prompt=prompt, force=cfg.force)


@entry(config_name="prepare")
def main(cfg: DictConfig) -> None:
    prepare(cfg)


if __name__ == "__main__":
    main()
