"""A benchmark's result in Weights & Biases: config, numbers, table and videos, in the group of its fine-tunes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from eval.benchmark.subject_run import SubjectRun
from eval.metrics.registry import REGISTRY
from src.app.loggers import log_video, wandb_logger

VIDEO = "generated.mp4"


def log_result(
    result: Mapping[str, Any], runs: Sequence[SubjectRun], *, project: str, folder: Path, tags: Sequence[str]
) -> None:
    """Log one result as a run of its own, offline where there is no key.

    Args:
        result: the content of `results.json`.
        runs: the subjects that were scored.
        folder: of the result; W&B's files go below it.
        tags: of the run; its group is the benchmark.
    """
    logger = wandb_logger(project=project, save_dir=str(folder), group=result["benchmark"], tags=list(tags))
    try:
        described = ("benchmark", "method", "num_frames", "model", "protocol", "dataset", "settings", "versions", "git")
        logger.experiment.config.update({key: result[key] for key in described})
        logger.log_metrics({name: float(entry["value"]) for name, entry in result["metrics"].items()})
        logger.log_metrics({f"seconds/{stage}": spent for stage, spent in result["seconds"].items() if spent})
        measured = [name for name in REGISTRY if any(name in clip for clip in result["clips"].values())]
        rows = [
            [name, clip["frames"], *(None if clip.get(m) is None else float(clip[m]) for m in measured)]
            for name, clip in result["clips"].items()
        ]
        logger.log_table("subjects", columns=["subject", "frames", *measured], data=rows)
        for run in runs:
            log_video(f"videos/{run.name}", run.generated.parent / VIDEO)
    finally:
        wandb.finish()
