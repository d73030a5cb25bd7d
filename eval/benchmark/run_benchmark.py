"""A benchmark from data to numbers: for each subject prepare, fine-tune, generate; then score them together."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from eval.benchmark.external.exchange import exchange
from eval.benchmark.judges import fetch, shipped_and_extractor, unpublished
from eval.benchmark.settings import BenchmarkSettings, ExternalMethod
from eval.benchmark.subject_run import LoggersOf, SubjectRun, TellEnd, check_places, run_subject, run_subjects
from eval.networks.networks import choose_device
from eval.scoring.clips import ClipPaths, ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.libraries import code_versions
from eval.scoring.protocol import Protocol
from eval.scoring.reading import read_clip
from eval.scoring.score import ScoreResult, score
from src.common.digests import digest, sha256
from src.common.errors import UserError
from src.common.files import read_record, write_json
from src.common.progress import track
from src.common.writers import only_writer
from src.data.manifest import PreparedDataset, manifest_path, prepare_dataset
from src.data.prepare import Recipe
from src.media.video import VideoReader
from src.methods.base import Method
from src.methods.registry import build_method
from src.pose.extractors.base import PoseExtractor
from src.runs.provenance import environment, git_revision

log = logging.getLogger(__name__)

FILE_NAME = "results.json"
SCORE_FAILED = "score: "  # what the reason of a subject begins with that was generated and not scored


def run_benchmark(
    settings: BenchmarkSettings,
    *,
    loggers: LoggersOf,
    ended: TellEnd = lambda failed: None,
    command: str | None = None,
) -> tuple[dict[str, Any], Path, list[SubjectRun]] | None:
    """Do what the settings describe, as far as that was not done before.

    Args:
        loggers: of a subject's fine-tune.
        ended: is told after each subject whether it failed.
        command: that asks for it, for the record.

    Returns:
        The content of `results.json` (as of `eval.score`, with `dataset`, `subjects`, `settings`, `versions`, `git`,
        `seconds` and `peak_memory_gib`), its path, and the subjects that were scored just now. None where all
        subjects wait for another system.

    Raises:
        UserError: bad settings, runs cannot be written where they go, there is no such device, not one subject could
            be scored, or the result's folder holds another result. Single subjects that fail are in the result.
    """
    extractor = settings.pose.build()
    extractor.download = settings.download
    settings.protocol.check_extractor(extractor.name)
    path = Path(settings.output) / settings.benchmark.name / (settings.label or settings.default_label()) / FILE_NAME
    if settings.system is None and not path.exists():
        # What is scored already needs no device, and what waits for another system none yet.
        choose_device(settings.device)
    refused = check_places(settings) if settings.system is None else None
    fetch(unpublished(settings.scoring, extractor), settings.store())
    _check_free(path, settings)
    # Two at once would each find the other's subjects locked, and call them failed.
    with only_writer(path.parent):
        started = time.perf_counter()
        # Weights that are not there are told before hours of preparing.
        asked = settings.method
        method = None if isinstance(asked, ExternalMethod) else build_method(asked, settings.around())
        prepared = _prepare(settings, extractor)
        seconds = {"prepare": round(time.perf_counter() - started, 3)}
        if method is None:
            assert settings.system is not None, "the settings have checked it"
            subjects = Subjects(prepared, *exchange(prepared, settings.system, settings))
        else:
            run = partial(run_subject, settings=settings, method=method, loggers=loggers, refused=refused)
            subjects = Subjects(prepared, *run_subjects(prepared, run, ended))
        if subjects.waiting and not subjects.runs:
            return None
        key = _key(subjects, settings, extractor)
        if (done := _finished(path, key)) is not None:
            log.info("scored before: %s", path)
            return done, path, []
        started = time.perf_counter()
        scores, scored = score_runs(subjects.runs, subjects.failed, settings, extractor)
        seconds["score"] = round(time.perf_counter() - started, 3)
        result = _result(settings, method, subjects, scored, scores, seconds) | {"command": command, "key": key}
        write_json(path, result)
    values = ", ".join(f"{name} {float(entry['value']):.4g}" for name, entry in result["metrics"].items())
    log.info("%s: subjects %d of %d; %s", path, len(scored), result["dataset"]["expected"], values or "no metric")
    return result, path, scored


@dataclass(frozen=True)
class Subjects:
    """What came of the subjects of a benchmark.

    Attributes:
        runs: of those whose frames are there.
        failed: by name, why others failed.
        waiting: by name, what others wait for.
    """

    prepared: PreparedDataset
    runs: list[SubjectRun]
    failed: dict[str, str]
    waiting: dict[str, str] = field(default_factory=dict)


def _key(subjects: Subjects, settings: BenchmarkSettings, extractor: PoseExtractor) -> str:
    """SHA-256 of everything that a result depends on."""
    decisive = [settings.identity(), list(settings.metrics), subjects.failed, subjects.waiting]
    decisive += [subjects.prepared.absent, code_versions()]
    decisive += [shipped_and_extractor(settings.scoring, extractor)]
    made = {run.name: [run.key, dict(run.sources)] if run.sources else run.key for run in subjects.runs}
    return digest([*decisive, made])


def _result(
    settings: BenchmarkSettings,
    method: Method | None,
    subjects: Subjects,
    scored: list[SubjectRun],
    scores: ScoreResult,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The content of `results.json`, but for what asked for it.

    Args:
        scored: those of the subjects that are in the scores.
        seconds: of `prepare` and `score`.
    """
    found = scores.as_dict()
    costs = [cost for run in scored for cost in (run.fine_tune, run.sampling)]
    return {
        "benchmark": settings.benchmark.name,
        **settings.who(),
        "seed": settings.seed,
        **found,
        "dataset": {**_dataset(subjects.prepared, subjects.failed, settings), "waiting": subjects.waiting},
        "setup": setup(scored, subjects.failed, settings, method),
        "subjects": {run.name: {"fine_tune": run.fine_tune, "sampling": run.sampling} for run in scored},
        "files": {
            run.name: {"generated": str(run.generated.resolve()), "real": str(run.real.resolve())} for run in scored
        },
        "versions": {**environment(), **found["versions"]},
        "git": git_revision(),
        "seconds": {
            **{"prepare": seconds["prepare"], "fine_tune": _total(scored, "fine_tune")},
            **{"sample": _total(scored, "sampling"), "score": seconds["score"]},
        },
        "peak_memory_gib": max((cost["peak_memory_gib"] for cost in costs if "peak_memory_gib" in cost), default=None),
        "identity": settings.identity(),
    }


def score_runs(
    runs: Sequence[SubjectRun], failed: dict[str, str], settings: BenchmarkSettings, extractor: PoseExtractor
) -> tuple[ScoreResult, list[SubjectRun]]:
    """Score all subjects together and each by itself; one whose files cannot be scored goes into `failed`.

    Returns:
        The scores, and the subjects that are in them.

    Raises:
        UserError: not one could be scored.
    """
    scored: list[SubjectRun] = []
    protocol = settings.protocol

    def clips() -> Iterator[ScoredClip]:
        for run in track(runs, "Scoring"):
            try:
                clip = read_clip(
                    _paths(run, protocol),
                    resolution=protocol.resolution,
                    resize=protocol.resize,
                    to_real=run.resize,
                )
            except UserError as error:
                log.error("%s is not scored: %s", run.name, error)
                failed[run.name] = f"{SCORE_FAILED}{error}"
                continue
            scored.append(run)
            yield clip

    store = FeatureStore(Path(settings.runs) / "features")
    try:
        return score(clips(), settings.scoring, settings.open(extractor), store=store), scored
    except UserError:
        if scored or not failed:
            raise
        name, reason = next(iter(failed.items()))
        raise UserError(f"no subject of {settings.benchmark.name} could be scored; {name}: {reason}") from None


def setup(
    runs: Sequence[SubjectRun], failed: Mapping[str, str], settings: BenchmarkSettings, method: Method | None
) -> dict[str, Any]:
    """Under which conditions the rows of a table were made: what a reader must know beside the numbers.

    Returns:
        `frames`, sizes of the generated frames as they were made; `resize`, the filter by which they were brought to
        the real ones' size, if they were; `driven_by`; `sources` of conditions and masks with how many subjects had
        them; `stand_in`, why the weights are none that published numbers are of.
    """
    sizes = {run.name: _size(run) for run in runs}
    sources: dict[str, dict[str, int]] = {}
    for run in runs:
        for what, source in run.sources.items():
            counts = sources.setdefault(what, {})
            counts[source] = counts.get(source, 0) + 1
    made = {"frames": sorted({generated for generated, _ in sizes.values()}), "subjects": len(runs) + len(failed)}
    if settings.protocol.resolution is None and any(generated != real for generated, real in sizes.values()):
        made["resize"] = runs[0].resize
    if method is None:
        return made
    return made | {
        "driven_by": settings.kind.driven_by,
        "trains": settings.kind.trains,
        "sources": sources,
        "stand_in": method.stand_in,
    }


def _size(run: SubjectRun) -> tuple[str, str]:
    """Generated and real frames' size."""
    readers = (VideoReader(run.generated), VideoReader(run.real))
    first, second = (f"{reader.width}x{reader.height}" for reader in readers)
    return first, second


def _prepare(settings: BenchmarkSettings, extractor: PoseExtractor) -> PreparedDataset:
    data = settings.data
    resolution = max(settings.prepared_resolution, data.resolution)
    recipe = Recipe(clip=replace(data.square_clip, resolution=resolution), extractor=extractor, root=data.root)
    return prepare_dataset(settings.dataset.build(), recipe, num_test=data.num_test_frames, only=settings.subjects)


def _check_free(path: Path, settings: BenchmarkSettings) -> None:
    """Refuse to write over a result of other settings.

    Raises:
        UserError: names the folder.
    """
    before = read_record(path)
    if before is not None and before.get("identity", settings.identity()) != settings.identity():
        raise UserError(
            f"{path} holds a result of other settings: leave label= out, so that each has a folder of its own, or "
            "choose another label"
        )
    scored = [*((before or {}).get("metrics") or {}), *((before or {}).get("missing") or {})]
    if lost := [name for name in scored if name not in settings.metrics]:
        raise UserError(
            f"{path} holds {', '.join(lost)} as well, which would be lost: ask for them too (metrics="
            f"[{','.join(scored)}]), or choose another label="
        )


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    """The result of before, if it is of the same key; one that lacks a metric or could not score all is tried again."""
    before = read_record(path)
    if before is None or before.get("key") != key or before.get("missing"):
        return None
    failed = (before.get("dataset") or {}).get("failed") or {}
    return None if any(str(reason).startswith(SCORE_FAILED) for reason in failed.values()) else before


def _paths(subject: SubjectRun, protocol: Protocol) -> ClipPaths:
    index = 0 if protocol.reference_frame == "first" else subject.reference
    reference = subject.training / f"{index:05d}.png"
    return ClipPaths(subject.name, subject.generated, subject.real, reference, subject.poses)


def _dataset(prepared: PreparedDataset, failed: Mapping[str, str], settings: BenchmarkSettings) -> dict[str, Any]:
    path = manifest_path(settings.data.root, prepared.name)
    return {
        "name": prepared.name,
        "expected": prepared.expected,
        "expected_frames": settings.data.num_test_frames,
        "absent": prepared.absent,
        "failed": dict(failed),
        "manifest": {"path": str(path.resolve()), "sha256": sha256(path)},
    }


def _total(runs: Sequence[SubjectRun], stage: str) -> float | None:
    """Seconds of a stage over all subjects; None where one was interrupted, so that its time is not known."""
    seconds = [getattr(run, stage).get("seconds") for run in runs]
    return None if None in seconds else round(sum(seconds), 3)
