"""`python -m src.poses show poses=… [subject=… | run=…]`: look at target poses before time is spent on them."""

from pathlib import Path

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.showcase.settings import LookSettings


@entry("poses", LookSettings, word="show")
def main(cfg: DictConfig) -> None:
    """Command line."""
    from src.showcase.look import look

    settings = settings_of(LookSettings, cfg)
    look(settings, Path(settings.output or Path("outputs/poses") / Path(settings.poses).stem))


if __name__ == "__main__":
    main()
