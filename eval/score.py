"""Score any frames or videos: python -m eval.score generated=… real=… reference=… metrics=[ssim,psnr,fvd]."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from eval.networks.settings import NetworkSettings
from eval.scoring.clips import ClipPaths, Pairing, files_of, find_clips
from eval.scoring.protocol import Protocol
from eval.scoring.settings import ScoreSettings
from src.app.entry import entry, settings_of
from src.common.errors import UserError
from src.common.files import write_json
from src.common.progress import track
from src.pose.extractors.settings import ExtractorSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Where the result stands in the tables of eval.report; None: nobody said."""

    benchmark: str | None
    method: str | None
    num_frames: int | None


@dataclass(frozen=True, kw_only=True)
class ScoreCommand(NetworkSettings):
    """What `conf/score.yaml` describes; paths as `eval.scoring.clips.find_clips` takes them."""

    protocol: Protocol
    pose: ExtractorSettings
    metrics: tuple[str, ...] | str
    table: TableSettings
    run: Path | None
    generated: Path | tuple[Path, ...] | None
    real: Path | tuple[Path, ...] | None
    reference: Path | None
    poses: Path | None
    pairing: Pairing
    output: Path | None

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = (self.generated, self.real, self.reference, self.poses)
        if self.run is not None and any(side is not None for side in sides):
            raise UserError("run= says where everything is: leave generated=, real=, reference= and poses= out")
        if self.run is None and self.generated is None:
            raise UserError("generated is not set: give generated=<frames or video(s)>, or run=<folder of src.train>")

    def clips(self) -> list[ClipPaths]:
        if self.run is not None:
            from eval.scoring.runs import clip_of_run

            return [clip_of_run(self.run, self.protocol)]
        assert self.generated is not None, "checked above"
        return find_clips(self.generated, self.real, self.reference, self.poses, pairing=self.pairing)

    def scoring(self) -> ScoreSettings:
        return ScoreSettings(metrics=self.metrics, protocol=self.protocol)


@entry("score", ScoreCommand)
def main(cfg: DictConfig) -> None:
    """Score, and write the JSON of a result to `output`, with a table to look at, or to standard output."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from eval.reporting.console import print_scores
    from eval.scoring.reading import read_clip
    from eval.scoring.score import score

    settings = settings_of(ScoreCommand, cfg)
    networks, clips = settings.open(settings.pose.build()), settings.clips()
    how = {"resolution": settings.protocol.resolution, "resize": settings.protocol.resize}
    found = score((read_clip(paths, **how) for paths in track(clips, "Scoring")), settings.scoring(), networks)
    result = {**vars(settings.table), **found.as_dict(), "files": files_of(clips)}
    if settings.output is None:
        sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
        return
    write_json(settings.output, result)
    print_scores(result)
    log.info("scores: %s", settings.output)


if __name__ == "__main__":
    main()
