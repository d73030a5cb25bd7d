"""Score any frames or videos: python -m eval.score generated=… real=… reference=… metrics=[ssim,psnr,fvd]."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from eval.frames import find_clips, read_clip
from eval.protocol import Protocol
from eval.scorer import Scorer, choose_device
from eval.toolbox import Toolbox
from eval.weights import WeightStore
from src.cli import entry
from src.errors import UserError
from src.files import write_json
from src.progress import track

log = logging.getLogger(__name__)


@entry(config_name="score")
def main(cfg: DictConfig) -> None:
    """Score, and write the JSON of `score` to `output` or to standard output."""
    result = score(cfg)
    if cfg.output is None:
        sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
        return
    write_json(cfg.output, result)
    values = (f"{name} {_short(entry['value'])}" for name, entry in result["metrics"].items())
    log.info("%s: %s", cfg.output, ", ".join(values) or "no metric could be computed")


def score(cfg: DictConfig) -> dict[str, Any]:
    """Score what `conf/score.yaml` describes.

    Returns:
        `{"protocol": …, "metrics": {"psnr": {"value": 31.2, "frames": 100}, …}, "missing": {"fvd": "why"}, …}`, see
        `eval.results`.

    Raises:
        UserError: an option or a file is wrong, or the two sides do not match.
    """
    protocol = Protocol.from_config(cfg.protocol)
    clips = find_clips(_paths(cfg.generated), None if cfg.real is None else _paths(cfg.real), cfg.reference)
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


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


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
