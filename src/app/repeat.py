"""`repeat=<run>`: the settings of a run that was made before, as values; what the command line says changes them."""

from typing import Any

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
    for override in overrides():
        key = override.partition("=")[0].lstrip("+~")
        if key.partition(".")[0] in (*OF_THE_COMMAND, "hydra") or key.startswith("hydra/"):
            continue
        if key in _SPREADING:
            raise UserError(f"repeat={cfg.repeat} takes the run's own {key}: leave out {override}")
        given = OmegaConf.select(cfg, key)
        given = OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given
        _set(values, key, given)
    return typed(RunSettings, values)


def _set(values: dict[str, Any], key: str, given: Any) -> None:
    """Put a value under a dotted key; a group that is not there is made, and refused with the settings."""
    *above, last = key.split(".")
    for part in above:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[last] = _filled(given, values.get(last))


def _filled(given: Any, own: Any) -> Any:
    """What a choice of a group leaves missing is the run's own."""
    if given == MISSING:
        return own
    if not isinstance(given, dict) or not isinstance(own, dict):
        return given
    return {key: _filled(value, own.get(key)) for key, value in given.items()}
