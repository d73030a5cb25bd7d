"""`python -m src.gallery`: everything that can be done with poses, one picture and one short video each."""

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.showcase.settings import GallerySettings


@entry("gallery", GallerySettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    from src.showcase.gallery import gallery

    gallery(settings_of(GallerySettings, cfg))


if __name__ == "__main__":
    main()
