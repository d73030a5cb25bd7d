"""Another person's motion on this body, where the truth is known: python -m eval.retarget."""

from omegaconf import DictConfig

from eval.benchmark.retarget_settings import RetargetSettings
from src.app.entry import entry, settings_of


@entry("retarget", RetargetSettings)
def main(cfg: DictConfig) -> None:
    """Write `results.json` and `results.md`."""
    from eval.benchmark.retarget import measure

    measure(settings_of(RetargetSettings, cfg))


if __name__ == "__main__":
    main()
