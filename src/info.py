"""`python -m src.info model=sd15`: sizes of a model as JSON, from its configs alone; `check=true`: is all ready?"""

import json
import logging
import sys
from dataclasses import dataclass

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.common.typed import setting
from src.runs.settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class InfoSettings(LearningSettings):
    """What `conf/info.yaml` describes.

    Attributes:
        check: look as well whether this machine and the weights are ready for it.
    """

    check: bool = setting(False, counts="nothing")


@entry("info", InfoSettings)
def main(cfg: DictConfig) -> None:
    """Print the description, and with `check=true` the report, as JSON; the report for people on standard error."""
    settings = settings_of(InfoSettings, cfg)
    logging.disable(logging.INFO)
    from src.models.describe import describe_model

    description = describe_model(settings.model, settings.data.resolution)
    if settings.check:
        from src.runs.doctor import doctor, readable

        description["check"] = doctor(settings)
        sys.stderr.write(readable(description["check"]) + "\n")
    sys.stdout.write(json.dumps(description, indent=2) + "\n")


def check() -> None:
    """`posecrafter doctor`: the same with `check=true`."""
    sys.argv.insert(1, "check=true")
    main()


if __name__ == "__main__":
    main()
