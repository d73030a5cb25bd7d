"""`python -m src.poses show poses=… [subject=… | run=…]`: look at target poses before time is spent on them."""

from pathlib import Path

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.showcase.settings import LookSettings


@entry("poses", LookSettings, word="show")
def main(cfg: DictConfig) -> None:
    """Command line."""
    from src.showcase.look import look, own_folder

    settings = settings_of(LookSettings, cfg)
    look(settings, own_folder(settings.poses) if settings.output is None else Path(settings.output))


if __name__ == "__main__":
    main()
