"""Whether a run stands alone, and what a sweep that stops goes on with."""

import shlex

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf


def in_sweep() -> bool:
    """Whether this is one of the jobs of a sweep (`-m`)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_dir_by_time() -> str | None:
    """The folder of this sweep as a setting, where its name holds the time and the same command would have another."""
    if not in_sweep():
        return None
    said = OmegaConf.to_container(HydraConfig.get().sweep, resolve=False)
    assert isinstance(said, dict)
    return shlex.quote(f"hydra.sweep.dir={HydraConfig.get().sweep.dir}") if "${now:" in str(said["dir"]) else None
