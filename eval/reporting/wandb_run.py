"""A benchmark's result in Weights & Biases: config, numbers, table and videos, in the group of its fine-tunes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wandb

from eval.metrics.registry import REGISTRY
from src.runs.generated import VIDEO

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


def log_result(result: Mapping[str, Any], videos: Mapping[str, Path], logger: "WandbLogger") -> None:
    """Log one result as a run of its own, which the command ends.

    Args:
        result: the content of `results.json`.
        videos: by subject, the folder of its video.
        logger: of the run.
    """
    described = ("benchmark", "method", "num_frames", "model", "protocol", "dataset", "settings", "versions", "git")
    # What tables say beside the numbers: whose weights stand in for others', what lacks and why.
    beside = ("setup", "missing", "warnings")
    logger.experiment.config.update({key: result[key] for key in (*described, *beside)})
    logger.log_metrics({name: float(entry["value"]) for name, entry in result["metrics"].items()})
    logger.log_metrics({f"seconds/{stage}": spent for stage, spent in result["seconds"].items() if spent})
    measured = [name for name in REGISTRY if any(name in clip for clip in result["clips"].values())]
    rows = [
        [name, clip["frames"], *(None if clip.get(m) is None else float(clip[m]) for m in measured)]
        for name, clip in result["clips"].items()
    ]
    logger.log_table("subjects", columns=["subject", "frames", *measured], data=rows)
    for name, folder in videos.items():
        if (folder / VIDEO).is_file():
            logger.experiment.log({f"videos/{name}": wandb.Video(str(folder / VIDEO), format="mp4")})
