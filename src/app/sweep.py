"""Whether a run stands alone; what a sweep goes on with where it stops, and which jobs it was to have."""

import itertools
import math
import shlex
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from src.common.reading import read_yaml

# A record may come from anyone: of more jobs, or longer values, nothing is said.
MOST_JOBS, LONGEST_VALUE = 1000, 200
QUOTE = "'"


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


def planned_jobs(folder: Path) -> dict[str, str]:
    """By the name of its folder, what is swept over in each job of a sweep's last command, as Hydra's record says it.

    Empty where there is no record, or one that says nothing of folders that are called like the jobs.
    """
    try:
        said = read_yaml(folder / "multirun.yaml")["hydra"]
        given = [f"{key}={value}" for key, value in (said["sweeper"]["params"] or {}).items()]
        overrides = OverridesParser.create().parse_overrides([*given, *said["overrides"]["task"]])
        # Of one that is said twice the last counts, in its place.
        last = {each.get_key_element(): each for each in overrides}
        swept = {key: each for key, each in last.items() if each.is_sweep_override()}
        # Hydra shuffles anew whenever it is asked.
        if any(getattr(each.value(), "shuffle", False) for each in swept.values()):
            return {}
        choices = [
            [
                f"{key}={value.strip(QUOTE):.{LONGEST_VALUE}}"
                for value in itertools.islice(each.sweep_string_iterator(), MOST_JOBS + 1)
            ]
            for key, each in swept.items()
        ]
        if said["sweep"]["subdir"] != "${hydra.job.num}" or math.prod(map(len, choices)) > MOST_JOBS:
            return {}
    except Exception:  # any kind, of what anybody may have written
        return {}
    return {str(number): ", ".join(job) for number, job in enumerate(itertools.product(*choices))}
