"""Turn a clip into a subject: square frames and poses, cached. `python -m src.prepare video=clip.mp4 name=me`"""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src.cli import entry
from src.data.resolve import default_name
from src.data.subject import ClipSettings, Subject, prepare_subject


def prepare(cfg: DictConfig) -> Subject:
    """Prepare the clip that the configuration `prepare` names."""
    video = Path(str(cfg.video))
    return prepare_subject(
        video,
        name=default_name(video, cfg.data.root) if cfg.name is None else str(cfg.name),
        extractor=instantiate(cfg.pose),
        settings=ClipSettings.from_config(cfg.data),
        root=cfg.data.root,
        prompt=None if cfg.prompt is None else str(cfg.prompt),
        force=cfg.force,
    )


@entry(config_name="prepare")
def main(cfg: DictConfig) -> None:
    prepare(cfg)


if __name__ == "__main__":
    main()
