"""What is looked at before the first job of a command line starts, whatever launcher runs the jobs."""

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from src.app.entry import USER_ERROR_STATUS, exit_with


class BeforeJobs(Callback):
    """Refuses a sweep without `-m`, and one whose jobs would all write into one `run_dir`, with one line and status 2.

    It ends the program by itself: of an exception in here Hydra would make a warning.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse to make one job of what is a sweep, such as an experiment."""
        if swept := config.hydra.sweeper.get("params"):
            experiment = config.hydra.runtime.choices.get("experiment")
            name = f"experiment={experiment}" if experiment else "what is given"
            _refuse(f"{name} is a sweep over {', '.join(swept)}: give -m as well")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse one `run_dir` for all jobs. What is swept over, an experiment too, is not in this configuration."""
        said = OmegaConf.to_container(config, resolve=False)
        assert isinstance(said, dict)  # in which no reference is followed
        given = OverridesParser.create().parse_overrides(said["hydra"]["overrides"]["task"])
        swept = {override.key_or_group for override in given if override.is_sweep_override()}
        swept |= set(config.hydra.sweeper.get("params") or ())
        run_dir = said.get("run_dir")
        # A reference may be another folder in each job; a backslash before it makes it text.
        if run_dir is None or "run_dir" in swept or re.search(r"(?<!\\)\$\{", str(run_dir)):
            return
        given_dir = str(run_dir).replace("\\${", "${")
        _refuse(
            f"run_dir={given_dir}: all jobs of the sweep would write there, one over the other: leave it out "
            "(hydra.sweep.dir= names the folder of all), or give each its own, as run_dir=a,b or "
            "run_dir='${hydra:sweep.dir}/${hydra:job.num}'"
        )


def _refuse(why: str) -> None:
    exit_with(f"error: {why}", USER_ERROR_STATUS)
