"""Score any frames or videos: posecrafter score GENERATED REAL reference=… metrics=[ssim,psnr,fvd].

Status 0: the result is written. 2: bad input, one line. 3, with strict=true alone: the result is written, and a metric
is missing in it. 130 and 143: stopped. What stopped in the middle goes on where resume=<folder> kept what was done.
"""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from eval.networks.settings import NetworkSettings
from eval.scoring.clips import ClipPaths, Pairing, find_clips
from eval.scoring.protocol import Protocol
from eval.scoring.settings import ScoreSettings
from src.app.entry import command, entry, exit_with, settings_of
from src.common.errors import UserError
from src.common.files import write_json
from src.common.stopping import keeping_nothing
from src.common.typed import FilePath, Raw
from src.common.writers import check_file
from src.pose.extractors.settings import ExtractorSettings

log = logging.getLogger(__name__)
MISSING_STATUS = 3


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Where the result stands in the tables of eval.report; None: as a run says of itself, else nobody said."""

    benchmark: Raw | None
    method: Raw | None
    num_frames: int | None


@dataclass(frozen=True, kw_only=True)
class ScoreCommand(NetworkSettings):
    """What `conf/score.yaml` describes; paths as `eval.scoring.clips.find_clips` takes them."""

    protocol: Protocol
    pose: ExtractorSettings
    metrics: tuple[str, ...] | str
    table: TableSettings
    run: FilePath | None
    generated: FilePath | tuple[FilePath, ...] | None
    real: FilePath | tuple[FilePath, ...] | None
    reference: FilePath | None
    poses: FilePath | None
    pairing: Pairing
    output: FilePath | None
    resume: FilePath | None
    strict: bool

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


@entry("score", ScoreCommand, positional=("generated", "real"))
def main(cfg: DictConfig) -> None:
    """Score, and write the JSON of a result to `output`, with a table to look at, or to standard output."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from eval.scoring.from_outside import score_paths

    settings = settings_of(ScoreCommand, cfg)
    if settings.output is not None:
        check_file(settings.output)
    networks, clips = settings.open(settings.pose.build()), settings.clips()
    with keeping_nothing(None if settings.resume is not None else "resume=FOLDER"):
        found = score_paths(clips, settings.scoring(), networks, resume=settings.resume)
    said: dict[str, Any] = dict(vars(settings.table))
    if settings.run is not None:
        from eval.scoring.runs import said_by

        said = said_by(settings.run) | {key: value for key, value in said.items() if value is not None}
    result = {**said, **found, "command": command("score", ScoreCommand)}
    _write(result, settings.output)
    if settings.strict and result["missing"]:
        exit_with(f"error: missing, with strict=true: {', '.join(result['missing'])}", MISSING_STATUS)


def _write(result: dict[str, Any], output: Path | None) -> None:
    if output is None:
        sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")
        return
    from eval.reporting.console import print_scores

    write_json(output, result)
    print_scores(result)
    log.info("scores: %s", output)


if __name__ == "__main__":
    main()
