"""`python -m src.gallery`: everything that can be done with poses, one picture and one short video each."""

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.showcase.gallery import GallerySettings, gallery


@entry("gallery", GallerySettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    gallery(settings_of(GallerySettings, cfg))


if __name__ == "__main__":
    main()
