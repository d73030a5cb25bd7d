"""`python -m src.poses show poses=… [subject=… | run=…]`: look at target poses before time is spent on them."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from src.app.entry import USER_ERROR_STATUS, entry, exit_with, settings_of
from src.showcase.look import LookSettings, look

COMMAND = "show"


@entry("poses", LookSettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    settings = settings_of(LookSettings, cfg)
    look(settings, Path(settings.output or Path("outputs/poses") / Path(settings.poses).stem))


if __name__ == "__main__":
    if sys.argv[1:2] != [COMMAND]:
        given = f"not {sys.argv[1]}" if len(sys.argv) > 1 else "nothing was given"
        exit_with(
            f"error: the command is python -m src.poses show poses=... [subject=... | run=...], {given}",
            USER_ERROR_STATUS,
        )
    del sys.argv[1]
    main()
