"""A benchmark from data to numbers: python -m eval.run benchmark=people method=posecrafter num_frames=8."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from eval.benchmark.settings import BenchmarkSettings
from src.app.entry import command, entry, settings_of
from src.app.loggers import build_loggers, finish_wandb, wandb_logger

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


@entry("eval", BenchmarkSettings)
def main(cfg: DictConfig) -> None:
    """Prepare, fine-tune, generate and score what was not done before, and write `results.json`."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from eval.benchmark.run_benchmark import run_benchmark
    from eval.reporting.wandb_run import log_result

    settings = settings_of(BenchmarkSettings, cfg)
    tracked = "group" in (cfg.get("logger") or {})

    def loggers(run: Path) -> "Sequence[Logger]":
        # Loggers name code, so they come from our configs and the command line alone; their files go into the run.
        node = _with_run_dir(cfg, run)
        if tracked:
            node.logger.group, node.logger.tags = settings.benchmark.name, settings.tags("train")
        return build_loggers(node.get("logger"), settings)

    # A subject's run ends with it, since what fails later is not its own.
    done = run_benchmark(settings, loggers=loggers, ended=finish_wandb, command=command("run", BenchmarkSettings))
    if done is None or not tracked or not done[2]:
        return
    result, path, scored = done
    logger = wandb_logger(
        project=cfg.logger.project,
        save_dir=str(path.parent),
        group=settings.benchmark.name,
        tags=settings.tags("eval"),
    )
    log_result(result, {run.name: run.generated.parent for run in scored}, logger)


def _with_run_dir(cfg: DictConfig, run: Path) -> DictConfig:
    """The configuration with the run's folder, which the loggers' own settings name."""
    node = cfg.copy()
    OmegaConf.set_struct(node, False)
    node.run_dir = run  # as a path, in which nothing is looked up
    return node


if __name__ == "__main__":
    main()
