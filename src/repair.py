"""`python -m src.repair video=… segments=[[40,63]]`: generate the bad part of a clip anew (Sec. 5.3, inpainting)."""

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.inpainting.settings import RepairSettings


@entry("repair", RepairSettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    from src.inpainting.repair import repair

    repair(settings_of(RepairSettings, cfg))


if __name__ == "__main__":
    main()
