"""`python -m src.info model=sd15`: sizes of a model as JSON, from its configs alone; `check=true`: is all ready?"""

import json
import logging
import sys
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.common.errors import UserError
from src.common.typed import setting, typed
from src.pose.extractors.settings import ExtractorSettings
from src.runs.settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class InfoSettings(LearningSettings):
    """What `conf/info.yaml` describes.

    Attributes:
        pose: the extractor whose weights are looked for.
        check: look as well whether this machine and the weights are ready for it.
    """

    pose: ExtractorSettings = setting(counts="nothing")
    check: bool = setting(False, counts="nothing")


@dataclass(frozen=True, kw_only=True)
class OtherModel:
    """A system that is no model of a run: `model=magicanimate|disco`.

    Attributes:
        configs: shipped configs of the image model that it stands on.
    """

    kind: Literal["magicanimate", "disco"]
    configs: str


def describe_other(model: OtherModel) -> dict[str, Any]:
    """Sizes and files of the system."""
    from src.baselines.sizes import describe_disco, describe_magicanimate
    from src.models.shipped import shipped_configs

    describe = {"magicanimate": describe_magicanimate, "disco": describe_disco}[model.kind]
    return describe(shipped_configs(model.configs))


@entry("info", InfoSettings)
def main(cfg: DictConfig) -> None:
    """Print the description, and with `check=true` the report, as JSON; the report for people on standard error."""
    logging.disable(logging.INFO)
    if "kind" in cfg.model:
        if cfg.check:
            raise UserError(f"check=true looks at what a run learns with, and model={cfg.model.kind} is no such model")
        description = describe_other(typed(OtherModel, cfg.model, "model"))
    else:
        description = _description(settings_of(InfoSettings, cfg))
    sys.stdout.write(json.dumps(description, indent=2) + "\n")


def _description(settings: InfoSettings) -> dict[str, Any]:
    from src.models.describe import describe_model

    description = describe_model(settings.model, settings.data.resolution)
    if settings.check:
        from src.runs.doctor import doctor, readable

        description["check"] = doctor(settings, settings.pose, multiple=description["resolution_multiple"])
        sys.stderr.write(readable(description["check"]) + "\n")
    return description


def check() -> None:
    """`posecrafter doctor`: the same with `check=true`."""
    sys.argv.insert(1, "check=true")
    main()


if __name__ == "__main__":
    main()
