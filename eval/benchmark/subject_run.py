"""One subject of a benchmark: fine-tune and sample, each once for what it depends on.

A stage's key is the SHA-256 of its settings and of the content of its input. Folders are named by it, so a stage is
finished if its folder says so, and methods that differ in sampling alone share a fine-tune.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb
from omegaconf import DictConfig

from src.app.compose import compose_config
from src.common.files import digest, read_json
from src.data.resolve import resolve_subject
from src.data.split import split_frames
from src.data.subject import ClipSettings
from src.runs.provenance import IRRELEVANT, OF_SAMPLING, plain_settings, weights_identity
from src.runs.run_folder import HELD_OUT, SUMMARY, save_held_out
from src.sample import sample
from src.train import train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubjectRun:
    """What scoring needs of a finished subject.

    Attributes:
        generated, real: folders of the frames; the same count and size.
        poses: file of the real frames' poses.
        training: folder of the training frames.
        reference: index of the reference frame among those.
        key: of the sampling.
        fine_tune, sampling: what they cost, as the summaries say.
    """

    name: str
    generated: Path
    real: Path
    poses: Path
    training: Path
    reference: int
    key: str
    fine_tune: Mapping[str, Any]
    sampling: Mapping[str, Any]


def run_subject(name: str, content: Mapping[str, Any], cfg: DictConfig, runs: Path) -> SubjectRun:
    """Bring a prepared subject through fine-tune and sampling, or find that this was done before.

    Args:
        name: of the subject.
        content: what identifies its frames and poses: checksums, or how it is rendered.
        cfg: composed configuration `train`; subject and run_dir are filled in here.
        runs: where runs are kept.

    Raises:
        UserError: bad settings, or a subject too short for them.
    """
    cfg = cfg.copy()
    cfg.subject, cfg.sample_after_train = name, False
    inputs = {"subject": dict(content), "weights": weights_identity(cfg.model)}
    fine_tune_key = digest([inputs, plain_settings(cfg, (*IRRELEVANT, *OF_SAMPLING))])
    key = digest([inputs, plain_settings(cfg, IRRELEVANT)])
    run = runs / f"{name}_{cfg.model.name}-{cfg.data.num_frames}_{fine_tune_key[:10]}"
    cfg.run_dir = str(run)
    if (run / SUMMARY).is_file():
        log.info("%s: fine-tuned before, in %s", name, run)
    else:
        try:
            train(cfg)
        finally:
            if wandb.run is not None:
                # The next subject would go on logging into this one's run.
                wandb.finish()
    real, poses = held_out(name, cfg, run)
    samples = run / "samples" / f"{cfg.method.name}_{key[:10]}"
    if (samples / SUMMARY).is_file():
        log.info("%s: sampled before, in %s", name, samples)
    else:
        film = compose_config("sample")
        film.run, film.poses, film.output, film.prompt = str(run), str(poses), str(samples), cfg.target_prompt
        # The held-out poses are the subject's own.
        film.method, film.sampling, film.retarget = cfg.method, cfg.sampling, "none"
        sample(film)
    sampling = read_json(samples / SUMMARY)["sampling"]
    return SubjectRun(
        name=name,
        generated=samples / "frames",
        real=real,
        poses=poses,
        training=run / "training" / "frames",
        reference=sampling["reference_frame"],
        key=key,
        fine_tune=read_json(run / SUMMARY)["training"],
        sampling=sampling,
    )


def held_out(name: str, cfg: DictConfig, run: Path) -> tuple[Path, Path]:
    """The run's held-out frames and poses as files, written once."""
    if not (run / HELD_OUT).is_dir():
        subject = resolve_subject(
            name, settings=ClipSettings.from_config(cfg.data), root=cfg.data.root, extractor=_no_extractor
        )
        chosen = list(split_frames(len(subject), num_train=cfg.data.num_frames, num_test=cfg.data.num_test_frames).test)
        save_held_out(run, subject.frames[chosen], subject.poses[chosen], float(subject.fps))
    return run / HELD_OUT / "frames", run / HELD_OUT / "poses.npz"


def _no_extractor() -> Any:
    raise AssertionError("a prepared subject has its poses")
