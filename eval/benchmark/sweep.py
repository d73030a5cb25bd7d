"""A finished multirun of `src.train` as results: one for each variant, over the subjects it was run on.

The subject makes the rows of a result, everything else that differs makes the variants (`eval.benchmark.variants`).
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.benchmark.judges import checksums, shipped_and_extractor, unpublished
from eval.benchmark.variants import variants_of
from eval.metrics.registry import metric_keys
from eval.networks.networks import Networks
from eval.reporting.notes import published_clips
from eval.scoring.clips import files_of
from eval.scoring.feature_store import FeatureStore
from eval.scoring.libraries import code_versions
from eval.scoring.reading import read_clip
from eval.scoring.runs import SCORED, benchmark_of_subjects, clip_of_run, made_by, subject_name
from eval.scoring.score import score
from eval.scoring.settings import ScoreSettings
from src.common.counting import counted
from src.common.digests import digest, sha256
from src.common.errors import UserError
from src.common.files import natural_key, read_record, write_json
from src.common.paths import CONF_DIR
from src.common.progress import track
from src.common.reading import read_yaml
from src.common.typed import plain
from src.runs.records import is_of_training
from src.runs.run_folder import CONFIG, SUMMARY, RunFolder

log = logging.getLogger(__name__)

DEFAULT_PROTOCOL = "paper"
_LONGEST_NAME = 150
SAID = 5


@dataclass(frozen=True)
class SweepRun:
    """One finished job.

    Attributes:
        name: of its clip in results, as of other results of the person.
        variant: what it was run with, as in `method=selection`; empty where only the subjects differ.
        num_test_frames: how many held-out frames it was asked for.
    """

    folder: Path
    subject: str
    name: str
    variant: str
    summary: dict[str, Any]
    num_test_frames: int


@dataclass(frozen=True)
class Sweep:
    """Finished jobs in the order of the sweep, and by folder name what is known of the others."""

    name: str
    runs: tuple[SweepRun, ...]
    unfinished: dict[str, str]

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(run.variant for run in self.runs))

    @property
    def subjects(self) -> list[str]:
        return sorted({run.subject for run in self.runs})

    @property
    def notes(self) -> list[str]:
        """What a reader of the tables must know of jobs that are in no row."""
        jobs = [f"job {name}, {what}" for name, what in self.unfinished.items()]
        more = f" and {counted(len(jobs) - SAID, 'job')} more" if len(jobs) > SAID else ""
        return [f"In no row, since not finished: {'; '.join(jobs[:SAID])}{more}."] if jobs else []


def read_sweep(folder: Path, planned: Mapping[str, str] | None = None) -> Sweep:
    """Find the jobs of a multirun.

    Args:
        planned: by folder, what the jobs were to be given; None: nobody knows.

    Raises:
        UserError: no finished run there, or two of one variant on one subject.
    """
    if not folder.is_dir():
        raise UserError(f"sweep={folder} is no folder: give the one that the multirun named, with a folder a job in it")
    found, unfinished = [], {}
    for path in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: natural_key(path.name)):
        if not (path / CONFIG).is_file():
            if not any(path.iterdir()):
                unfinished[path.name] = "which wrote nothing yet (it failed, or is still preparing)"
            continue
        settings = RunFolder(path).settings()
        summary = RunFolder(path).summary() or {}
        if is_of_training(summary) and (changed := RunFolder(path).changed(summary, SCORED)):
            changes = f"{', '.join(changed)} missing or changed since"
            unfinished[path.name] = f"of {settings.subject} by {settings.method.name}, {changes}"
        elif is_of_training(summary):
            found.append((path, settings, summary))
        else:
            films = "" if settings.sample_after_train else ", which films nothing (sample_after_train=false)"
            unfinished[path.name] = f"of {settings.subject} by {settings.method.name}{films}"
    for job, given in (planned or {}).items():
        if not (folder / job).exists():
            unfinished[job] = f"{given}, which never began (or was moved away)"
    if not found:
        jobs = "".join(f" (job {name}, {what})" for name, what in list(unfinished.items())[:1])
        raise UserError(f"sweep={folder} holds no finished run{jobs}: give the folder of a multirun of src.train")
    names, runs = _clip_names({settings.subject for _, settings, _ in found}), []
    variants = variants_of([(settings, summary.get("overrides", [])) for _, settings, summary in found])
    for (path, settings, summary), variant in zip(found, variants, strict=True):
        subject = settings.subject
        runs.append(SweepRun(path, subject, names[subject], variant, summary, settings.data.num_test_frames))
    for run in runs:
        same = [other.folder.name for other in runs if (other.variant, other.subject) == (run.variant, run.subject)]
        if len(same) > 1:
            raise UserError(
                f"sweep={folder} holds {run.subject} with {run.variant or 'the same settings'} twice, in "
                f"{' and '.join(same)}: move all but one of them out of it"
            )
    return Sweep(folder.resolve().name, tuple(runs), unfinished)


def score_sweep(
    sweep: Sweep, output: Path, scoring: ScoreSettings, networks: Networks, *, benchmark: str, store: FeatureStore
) -> list[Path]:
    """Score every variant over its subjects; what was scored before is not scored again.

    Args:
        output: results go to `scores/` below it.
        networks: loaded once for all variants.
        store: keeps the real frames' features for the next variant.

    Returns:
        A result file of each variant, in the order of the sweep.

    Raises:
        UserError: files that do not belong together.
    """
    paths, protocol = [], scoring.protocol
    asked = scoring, networks.extractor
    judged = [checksums(unpublished(*asked), networks.store), *shipped_and_extractor(*asked)]
    names = _file_names(sweep.variants)
    for variant in track(sweep.variants, "Scoring"):
        runs = [run for run in sweep.runs if run.variant == variant]
        # Another protocol's scores are other results.
        shown = "" if protocol.label() == DEFAULT_PROTOCOL else f"_{protocol.label()}"
        path = output / "scores" / f"{names[variant]}{shown}.json"
        paths.append(path)
        made = {run.name: sha256(run.folder / SUMMARY) for run in runs}
        key = digest([benchmark, plain(scoring), judged, code_versions(), made])
        before = read_record(path) or {}
        # One that lacks a metric is tried again.
        if before.get("key") == key and not before.get("missing"):
            continue
        clips = [clip_of_run(run.folder, protocol, name=run.name) for run in runs]
        read = (read_clip(clip, resolution=protocol.resolution, resize=protocol.resize) for clip in clips)
        result = score(read, scoring, networks, store=store).as_dict()
        first = runs[0]
        write_json(
            path,
            {
                **{"benchmark": benchmark, "method": first.summary["method"], "model": first.summary["model"]},
                **{"num_frames": len(first.summary["training_frames"]), "variant": variant or None},
                **result,
                "dataset": {
                    "expected": published_clips(benchmark) or len(sweep.subjects),
                    "expected_frames": first.num_test_frames,
                    "absent": {},
                    "failed": {},
                },
                **made_by(first.folder),
                "files": files_of(clips),
                "seconds": {
                    "fine_tune": _mean([run.summary["training"].get("seconds") for run in runs]),
                    "sample": _mean([run.summary["sampling"]["seconds"] for run in runs]),
                },
                "git": first.summary.get("git"),
                "key": key,
            },
        )
    return paths


def default_metrics(sweep: Sweep) -> tuple[str, ...]:
    """Those of the subjects' benchmark; of subjects of none, the eight of the paper."""
    path = CONF_DIR / "eval" / "benchmark" / f"{benchmark_of(sweep)}.yaml"
    if path.is_file():
        return metric_keys(read_yaml(path)["benchmark"]["metrics"])
    return metric_keys("paper")


def benchmark_of(sweep: Sweep) -> str:
    """`ted` for ted_001, ted_002 …; the sweep's own name where subjects have no common one."""
    return benchmark_of_subjects(sweep.subjects) or sweep.name


def _clip_names(subjects: Collection[str]) -> dict[str, str]:
    """A name of each subject's clips, as `eval.score` has it; files of one name are told apart by a checksum.

    >>> names = _clip_names({"people_001", "clips/anna.mp4", "a/ben.mp4", "b/ben.mp4"})
    >>> names["people_001"], names["clips/anna.mp4"], names["a/ben.mp4"][:4], len(set(names.values()))
    ('people_001', 'anna', 'ben-', 4)
    """
    # Who is a name has it, whatever files are called.
    return _told_apart({subject: subject_name(subject) for subject in subjects}) | {
        subject: subject for subject in subjects if subject_name(subject) == subject
    }


def _file_names(variants: Sequence[str]) -> dict[str, str]:
    """A file name of each variant; what letters of other scripts would make the same is told apart by a checksum.

    >>> names = _file_names(["method=selection, seed=1", "", "prompt=红发", "prompt=金发"])
    >>> [name[:8] for name in names.values()], len(set(names.values()))
    (['method=s', 'all', 'prompt=-', 'prompt=-'], 4)
    """
    names = {variant: re.sub(r"[^A-Za-z0-9._=-]+", "-", variant).strip("-") or "all" for variant in variants}
    # Names of files end at 255 bytes.
    return _told_apart({variant: name[:_LONGEST_NAME] for variant, name in names.items()})


def _told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """The names; one that is another's too has a checksum of what it is of."""
    shared = list(names.values())
    return {of: name if shared.count(name) == 1 else f"{name}-{digest(of)[:6]}" for of, name in names.items()}


def _mean(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return round(sum(known) / len(known), 3) if known else None
