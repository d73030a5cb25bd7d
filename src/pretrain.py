"""`python -m src.pretrain part=vae|base|keypoints|clip`: train the miniature models on rendered people."""

from dataclasses import fields

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.app.entry import entry
from src.common.typed import given, typed
from src.miniature.settings import STEP, PartSettings, PretrainSettings, StepSettings


def settings_of_pretraining(cfg: DictConfig) -> PretrainSettings:
    """The settings that are read before the part is built, typed and checked.

    Raises:
        UserError: names the key that is missing or wrong.
    """
    values = {field.name: given(cfg[field.name]) for field in fields(PretrainSettings)}
    values["part"] = {field.name: values["part"][field.name] for field in fields(PartSettings)}
    typed(StepSettings, cfg.part.module.settings, STEP)
    return typed(PretrainSettings, values)


def pretrain(cfg: DictConfig) -> dict[str, float]:
    """Train one part, or go on with it; see `src.miniature.training.train`."""
    # Seconds of imports that `--help` need not wait for.
    from src.miniature.training import train

    settings = settings_of_pretraining(cfg)
    return train(settings, lambda **pools: instantiate(cfg.part.module)(**pools), OmegaConf.to_yaml(cfg, resolve=True))


@entry("pretrain", PretrainSettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    pretrain(cfg)


if __name__ == "__main__":
    main()
