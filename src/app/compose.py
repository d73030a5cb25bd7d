"""Configurations of other entry points, composed inside a running one."""

from collections.abc import Iterable

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from src.common.paths import CONF_DIR

_SHARED = ("data", "optimizer", "sampling", "method", "trainer", "logger", "model")


def compose_config(name: str, overrides: Iterable[str] = ()) -> DictConfig:
    """The configuration `conf/<name>.yaml` with overrides as on its command line."""
    if GlobalHydra.instance().is_initialized():
        return compose(name, list(overrides))
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(name, list(overrides))


def compose_like(name: str, cfg: DictConfig, overrides: Iterable[str] = ()) -> DictConfig:
    """The same, of an entry point that fine-tunes, with the config groups of `cfg`."""
    composed = compose_config(name, overrides)
    for group in _SHARED:
        composed[group] = cfg[group]
    return composed
