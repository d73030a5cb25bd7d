"""A benchmark from data to numbers: python -m eval.run benchmark=tiktok method=posecrafter num_frames=8."""

import gc
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from eval.benchmark.compose import compose_train, tags
from eval.benchmark.external.exchange import exchange, external_system, identity, system_tags
from eval.benchmark.subject_run import SubjectRun, run_subject
from eval.metrics.registry import REGISTRY
from eval.networks.networks import NetworkSettings
from eval.reporting.wandb_run import log_result
from eval.scoring.clips import ClipPaths, ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.protocol import Protocol
from eval.scoring.reading import read_clip
from eval.scoring.score import ScoreSettings, library_versions, score
from src.app.entry import entry
from src.common.errors import UserError
from src.common.files import digest, read_json, sha256, write_json
from src.common.progress import track
from src.common.typed import plain, typed
from src.data.manifest import PreparedDataset, manifest_path, prepare_dataset
from src.data.subject import ClipSettings
from src.pose.extractors.base import PoseExtractor
from src.runs.provenance import environment, git_revision

log = logging.getLogger(__name__)

FILE_NAME = "results.json"
CHECKSUMS = ("frames_sha256", "poses_sha256", "record_sha256")


def run(cfg: DictConfig) -> dict[str, Any]:
    """Prepare, fine-tune, sample and score what `conf/eval.yaml` describes, as far as that was not done before.

    Returns:
        The content of `results.json`: as of `eval.score` (see `eval.reporting.results`), with `dataset`, `subjects`,
        `settings`, `versions`, `git`, `seconds` and `peak_memory_gib`. Nothing where all subjects wait for another
        system.

    Raises:
        UserError: bad settings, or not one subject could be scored. Single subjects that fail are in the result.
    """
    started = time.perf_counter()
    protocol = typed(Protocol, cfg.protocol, "protocol")
    if unknown := [name for name in cfg.metrics if name not in REGISTRY]:
        raise UserError(f"metrics={','.join(unknown)}: choose some of {', '.join(REGISTRY)}")
    system, train_cfg = external_system(cfg), compose_train(cfg)
    extractor = instantiate(cfg.pose)
    prepared = prepare_dataset(
        instantiate(cfg.dataset),
        extractor=extractor,
        settings=replace(
            ClipSettings.from_config(cfg.data), resolution=max(cfg.prepared_resolution, cfg.data.resolution)
        ),
        root=cfg.data.root,
        num_test=cfg.data.num_test_frames,
        only=None if cfg.subjects is None else [str(name) for name in cfg.subjects],
    )
    prepare_seconds = time.perf_counter() - started
    if system is None:
        (runs, failed), waiting = run_subjects(prepared, train_cfg, Path(cfg.runs) / cfg.benchmark.name), {}
        who = {"method": cfg.method.name, "num_frames": cfg.num_frames, "model": cfg.model.name}
        who["settings"] = OmegaConf.to_container(_resolvable(train_cfg), resolve=True)
    else:
        runs, failed, waiting = exchange(prepared, system, cfg)
        who = identity(system, cfg)
        if waiting and not runs:
            return {}

    path = Path(cfg.output) / cfg.benchmark.name / cfg.label / FILE_NAME
    decisive = [plain(protocol), list(cfg.metrics), failed, waiting, prepared.absent, library_versions()]
    key = digest([*decisive, {subject.name: subject.key for subject in runs}])
    if (done := _finished(path, key)) is not None:
        log.info("scored before: %s", path)
        return done
    scoring = time.perf_counter()
    scores, scored = score_runs(runs, failed, cfg, protocol, extractor)
    result = {
        "benchmark": cfg.benchmark.name,
        **who,
        **scores,
        "dataset": {**_dataset(prepared, failed, Path(cfg.data.root)), "waiting": waiting},
        "subjects": {run.name: {"fine_tune": run.fine_tune, "sampling": run.sampling} for run in scored},
        "files": {
            run.name: {"generated": str(run.generated.resolve()), "real": str(run.real.resolve())} for run in scored
        },
        "versions": {**environment(), **scores["versions"]},
        "git": git_revision(),
        "seconds": {
            **{"prepare": round(prepare_seconds, 3), "fine_tune": _total(scored, "fine_tune")},
            **{"sample": _total(scored, "sampling"), "score": round(time.perf_counter() - scoring, 3)},
        },
        "peak_memory_gib": max(
            (
                cost["peak_memory_gib"]
                for run in scored
                for cost in (run.fine_tune, run.sampling)
                if "peak_memory_gib" in cost
            ),
            default=None,
        ),
        "key": key,
    }
    write_json(path, result)
    if "group" in cfg.logger:
        named = tags(cfg, "eval") if system is None else system_tags(system, cfg)
        log_result(result, scored, project=cfg.logger.project, folder=path.parent, tags=named)
    values = ", ".join(f"{name} {float(entry['value']):.4g}" for name, entry in result["metrics"].items())
    log.info("%s: %d of %d subjects; %s", path, len(scored), result["dataset"]["expected"], values or "no metric")
    return result


def score_runs(
    runs: Sequence[SubjectRun],
    failed: dict[str, str],
    cfg: DictConfig,
    protocol: Protocol,
    extractor: PoseExtractor,
) -> tuple[dict[str, Any], list[SubjectRun]]:
    """Score all subjects together and each by itself; one whose files cannot be scored goes into `failed`.

    Returns:
        What `Scorer.result` returns, and the subjects that are in it.

    Raises:
        UserError: not one could be scored.
    """
    settings = NetworkSettings(
        weights=None if cfg.weights is None else Path(cfg.weights),
        download=cfg.download,
        device=cfg.device,
        batch_size=cfg.batch_size,
    )
    scoring = ScoreSettings(
        metrics=tuple(str(name) for name in cfg.metrics), protocol=protocol, bootstrap=cfg.bootstrap
    )
    scored: list[SubjectRun] = []

    def clips() -> Iterator[ScoredClip]:
        for run in track(runs, "Scoring"):
            try:
                clip = read_clip(_paths(run, protocol), resolution=protocol.resolution, resize=protocol.resize)
            except UserError as error:
                log.error("%s is not scored: %s", run.name, error)
                failed[run.name] = f"score: {error}"
                continue
            scored.append(run)
            yield clip

    try:
        result = score(clips(), scoring, settings.open(extractor), store=FeatureStore(Path(cfg.runs) / "features"))
    except UserError:
        if scored or not failed:
            raise
        name, reason = next(iter(failed.items()))
        raise UserError(f"no subject of {cfg.benchmark.name} could be scored; {name}: {reason}") from None
    return result.as_dict(), scored


def run_subjects(
    prepared: PreparedDataset, train_cfg: DictConfig, runs: Path
) -> tuple[list[SubjectRun], dict[str, str]]:
    """Every prepared subject through fine-tune and sampling.

    Returns:
        Those that are finished, and by name why the others are not: preparation's failures too.
    """
    finished, failed = [], {name: f"prepare: {reason}" for name, reason in prepared.failed.items()}
    for number, (name, known) in enumerate(prepared.subjects.items(), 1):
        log.info("subject %s, %d of %d", name, number, len(prepared.subjects))
        checksums = {key: known[key] for key in CHECKSUMS if key in known}
        try:
            finished.append(run_subject(name, checksums or known["source"], train_cfg, runs))
        except UserError as error:
            log.error("%s failed: %s", name, error)
            failed[name] = str(error)
        except Exception as error:
            # Whatever it is, hours of other subjects are not lost for it; the log keeps the traceback.
            log.exception("%s failed", name)
            failed[name] = f"{type(error).__name__}: {error}"
        gc.collect()
        torch.cuda.empty_cache()
    return finished, failed


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    """The result of before, if it is of the same key; one that lacks a metric is tried again."""
    if not path.is_file():
        return None
    before = read_json(path)
    return before if before.get("key") == key and not before["missing"] else None


def _paths(subject: SubjectRun, protocol: Protocol) -> ClipPaths:
    index = 0 if protocol.reference_frame == "first" else subject.reference
    return ClipPaths(
        subject.name, subject.generated, subject.real, subject.training / f"{index:05d}.png", subject.poses
    )


def _dataset(prepared: PreparedDataset, failed: Mapping[str, str], root: Path) -> dict[str, Any]:
    path = manifest_path(root, prepared.name)
    known = len(prepared.subjects) + len(prepared.absent) + len(prepared.failed)
    return {
        "name": prepared.name,
        "expected": known if prepared.published is None else prepared.published,
        "absent": prepared.absent,
        "failed": dict(failed),
        "manifest": {"path": str(path.resolve()), "sha256": sha256(path)},
    }


def _total(runs: Sequence[SubjectRun], stage: str) -> float | None:
    """Seconds of a stage over all subjects; None where one was interrupted, so that its time is not known."""
    seconds = [getattr(run, stage).get("seconds") for run in runs]
    return None if None in seconds else round(sum(seconds), 3)


def _resolvable(train_cfg: DictConfig) -> DictConfig:
    """Without what each subject fills in."""
    kept = train_cfg.copy()
    OmegaConf.set_struct(kept, False)
    for key in ("subject", "run_dir", "logger"):
        del kept[key]
    return kept


@entry("eval")
def main(cfg: DictConfig) -> None:
    """Command line."""
    run(cfg)


if __name__ == "__main__":
    main()
