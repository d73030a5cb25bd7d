"""`repeat=<run>`: the settings of a run that was made before, as values; what the command line says changes them.

A choice of a group is taken as its file has it, without what `model=` sets in other groups, and what it leaves missing
is the run's own, as with `src.sample`.
"""

from collections.abc import Mapping
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from src.app.entry import OF_THE_COMMAND, overrides
from src.common.errors import UserError
from src.common.raw import at_home
from src.common.typed import plain, typed
from src.runs.settings import RunSettings

# Where a run writes is this command's to say: the folder may have come from anyone.
_PLACES = ("run_dir", "fine_tune_cache", "data.root")
# Choices that set keys of several groups at once: nobody could say which of them the run's own should give way to.
_SPREADING = ("model", "experiment")


def repeated(cfg: DictConfig) -> RunSettings:
    """The settings of the run `cfg.repeat`, but for where it wrote, and with this command line's changes.

    Raises:
        UserError: no such run, or a change that is none of single values or groups.
    """
    from src.runs.run_folder import RunFolder

    values = plain(RunFolder(at_home(str(cfg.repeat))).settings())
    for key in _PLACES:
        _set(values, key, OmegaConf.select(cfg, key))
    # What is given may point at the run's values: `trainer.max_steps=${data.num_frames}`.
    whole, said = OmegaConf.create(_without_references(values)), OmegaConf.to_container(cfg)
    assert isinstance(whole, DictConfig)
    for group, choice in _chosen_groups(str(cfg.repeat)).items():
        _change(values, whole, group, choice)
    for key in _given_values():
        _change(values, whole, key, _at(said, key))
    return typed(RunSettings, values)


def _chosen_groups(run: str) -> dict[str, Any]:
    """The groups of settings that the command line chooses, as their files have them."""
    choices = HydraConfig.get().runtime.choices
    chosen = []
    for override in overrides():
        key = _key(override)
        if key in _SPREADING:
            raise UserError(f"repeat={run} takes the run's own {key}: leave out {override}")
        if key in choices and not _is_aside(key):
            chosen.append(override)
    if not chosen:
        return {}
    # The default of `model=` would set its own values in them.
    composed = compose(HydraConfig.get().job.config_name, overrides=[*chosen, "~model"])
    groups = OmegaConf.to_container(composed)
    assert isinstance(groups, dict)
    return {key: groups.get(key) for key in map(_key, chosen)}


def _given_values() -> list[str]:
    choices = HydraConfig.get().runtime.choices
    keys = [_key(override) for override in overrides()]
    return [key for key in keys if key not in choices and not _is_aside(key)]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _is_aside(key: str) -> bool:
    return key.partition(".")[0] in (*OF_THE_COMMAND, "hydra") or key.startswith("hydra/")


def _change(values: dict[str, Any], whole: DictConfig, key: str, given: Any) -> None:
    """Put what was given, perhaps with references, into the values and into the whole that references point into."""
    own = _at(values, key)
    OmegaConf.update(whole, key, _filled(given, _without_references(own)), merge=False)
    found = OmegaConf.select(whole, key)
    found = OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    _set(values, key, _filled(found, own))


def _without_references(values: Any) -> Any:
    """Plain values without the text that would be taken for a reference: a run's own is never followed."""
    if isinstance(values, dict):
        return {key: _without_references(value) for key, value in values.items()}
    return MISSING if "${" in str(values) else values


def _at(values: Any, key: str) -> Any:
    """The value under a dotted key; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _set(values: dict[str, Any], key: str, given: Any) -> None:
    """Put a value under a dotted key; a group that is not there is made, and refused with the settings."""
    *above, last = key.split(".")
    for part in above:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[last] = given


def _filled(given: Any, own: Any) -> Any:
    """What a choice of a group leaves missing is the run's own."""
    if given == MISSING:
        return own
    if not isinstance(given, dict) or not isinstance(own, dict):
        return given
    return {key: _filled(value, own.get(key, MISSING)) for key, value in given.items()}
