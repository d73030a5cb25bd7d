"""Score any frames or videos: python -m eval.score generated=… real=… reference=… metrics=[ssim,psnr,fvd]."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.table import Table

from eval.metrics.catalog import CATALOG
from eval.networks.weights import WeightStore
from eval.reporting.writers import format_value
from eval.scoring.clips import find_clips, read_clip
from eval.scoring.features import Toolbox
from eval.scoring.protocol import Protocol
from eval.scoring.scorer import Scorer, choose_device
from src.app.entry import entry
from src.common.errors import UserError
from src.common.files import write_json
from src.common.progress import track
from src.runs.run_folder import HELD_OUT

log = logging.getLogger(__name__)


@entry(config_name="score")
def main(cfg: DictConfig) -> None:
    """Score, and write the JSON of `score` to `output`, with a table to look at, or to standard output."""
    result = score(cfg)
    if cfg.output is None:
        sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
        return
    write_json(cfg.output, result)
    print_table(result)
    log.info("scores: %s", cfg.output)


def score(cfg: DictConfig) -> dict[str, Any]:
    """Score what `conf/score.yaml` describes.

    Returns:
        `{"protocol": …, "metrics": {"psnr": {"value": 31.2, "frames": 100}, …}, "missing": {"fvd": "why"}, …}`, see
        `eval.reporting.results`.

    Raises:
        UserError: an option or a file is wrong, or the two sides do not match.
    """
    if cfg.run is not None:
        cfg = of_run(cfg)
    protocol = Protocol.from_config(cfg.protocol)
    clips = find_clips(_paths(cfg.generated), None if cfg.real is None else _paths(cfg.real), cfg.reference, cfg.poses)
    store = WeightStore(None if cfg.weights is None else _folder(cfg.weights), cfg.download)
    device = choose_device(cfg.device)
    tools = Toolbox(protocol, store, instantiate(cfg.pose), device=device, batch_size=cfg.batch_size)
    scorer = Scorer(_names(cfg.metrics), tools, real=cfg.real is not None, reference=cfg.reference is not None)
    for paths in track(clips, "Scoring", total=len(clips)):
        scorer.add(read_clip(paths, resolution=protocol.resolution, resize=protocol.resize))
    return {
        "benchmark": cfg.table.benchmark,
        "method": cfg.table.method,
        "num_frames": cfg.table.num_frames,
        **scorer.result(),
        "files": {
            paths.name: {"generated": _absolute(paths.generated), "real": _absolute(paths.real)} for paths in clips
        },
    }


def of_run(cfg: DictConfig) -> DictConfig:
    """Fill in what a run folder of `src.train` holds: its frames, the true ones with their poses, the reference.

    Raises:
        UserError: there are none in it.
    """
    run, cfg = Path(cfg.run), cfg.copy()
    if not (run / "frames").is_dir() or not (run / HELD_OUT).is_dir():
        raise UserError(f"run={run} holds no filmed held-out poses: give a run folder of src.train")
    cfg.generated, cfg.real, cfg.poses = str(run), str(run / HELD_OUT), str(run / HELD_OUT / "poses.npz")
    cfg.reference = str(run / "training" / "frames" / "00000.png")
    return cfg


def print_table(result: dict[str, Any]) -> None:
    """Print every metric with its value, or why it has none."""
    table = Table("metric", "value", "", title="Scores")
    for name, info in CATALOG.items():
        if name in result["metrics"]:
            entry = result["metrics"][name]
            value = format_value(name, float(entry["value"]))
            table.add_row(f"{info.title} {info.arrow}", value, entry.get("note", ""))
        elif name in result["missing"]:
            # The log has the whole reason.
            table.add_row(info.title, "missing", result["missing"][name].split(": ")[0], style="dim")
    Console(stderr=True).print(table)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _paths(value: str | ListConfig) -> str | list[str]:
    return [str(path) for path in value] if isinstance(value, ListConfig) else str(value)


def _names(value: str | ListConfig) -> list[str]:
    return [str(name) for name in value] if isinstance(value, ListConfig) else [str(value)]


def _folder(path: str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"weights={path} is not a folder")
    return folder


if __name__ == "__main__":
    main()
