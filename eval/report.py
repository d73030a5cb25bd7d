"""Tables and one self-contained page of all results: python -m eval.report results=outputs/eval."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from eval.networks.settings import NetworkSettings
from eval.reporting.settings import WRITTEN, PageSettings
from eval.scoring.protocol import Protocol
from eval.scoring.settings import ScoreSettings
from src.app.entry import entry, overrides, settings_of
from src.app.loggers import wandb_logger
from src.app.sweep import planned_jobs
from src.common.errors import UserError
from src.common.typed import FilePath, Raw
from src.common.writers import check_place, refuse_links
from src.pose.extractors.settings import ExtractorSettings

if TYPE_CHECKING:
    from eval.networks.networks import Networks

log = logging.getLogger(__name__)
REPORT = "report"
SECONDS = "seconds of sampling a subject, as it ran"


# Of a sweep alone: what is null where nobody asks for it, and groups that a default is chosen of.
WANTED, CHOSEN = ("metrics", "benchmark", "wandb"), ("protocol", "pose")


@dataclass(frozen=True, kw_only=True)
class ReportCommand(NetworkSettings, PageSettings):
    """What `conf/report.yaml` describes."""

    results: FilePath | tuple[FilePath, ...] | None
    output: FilePath | None
    sweep: FilePath | None
    protocol: Protocol
    pose: ExtractorSettings
    metrics: tuple[str, ...] | str | None
    baseline: Raw | None
    benchmark: str | None
    wandb: str | None

    def __post_init__(self) -> None:
        NetworkSettings.__post_init__(self)
        PageSettings.__post_init__(self)


@entry("report", ReportCommand)
def main(cfg: DictConfig) -> None:
    """Write `report.html` and `tables.md`, `.tex`, `.csv`, `.json`; of a sweep also its image grids and plots."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from eval.reporting.page import write_report
    from eval.reporting.results import load_results
    from eval.reporting.tables import build_tables

    settings = settings_of(ReportCommand, cfg)
    if settings.output is not None:
        refuse_links(settings.output, WRITTEN)
        check_place(settings.output)
    if settings.sweep is not None:
        report_sweep(settings.sweep, settings, settings.open(settings.pose.build()))
        return
    wanted = [f"{name}={value}" for name in WANTED if (value := getattr(settings, name)) is not None]
    for said in (*_of_scoring(), *wanted):
        raise UserError(f"{said} goes with sweep=<folder of a multirun>: results are scored already")
    given = settings.results or ()
    paths = [given] if isinstance(given, Path) else list(given)
    results = load_results(paths)
    if settings.output is None and len(paths) != 1:
        raise UserError("several results need an output folder: output=<folder>")
    first = paths[0] if paths[0].is_dir() else paths[0].parent
    output = settings.output or _beside(first)
    write_report(build_tables(results, baseline=settings.baseline), output, settings)


def _of_scoring() -> list[str]:
    """What the command line says of `CHOSEN`, in which a choice is not told from the default."""
    return [said for said in overrides() if said.lstrip("+~").partition("=")[0].partition(".")[0] in CHOSEN]


def _beside(folder: Path) -> Path:
    """The report's own place in a folder of results, which may have come from anyone: no link leads out of there."""
    refuse_links(folder, [REPORT], instead="say output=<folder>")
    refuse_links(folder / REPORT, WRITTEN, instead="say output=<folder>")
    return folder / REPORT


def report_sweep(folder: Path, settings: ReportCommand, networks: "Networks") -> None:
    """Score a multirun of `src.train`; write tables, page, image grids and plots, and log them to W&B.

    Raises:
        UserError: no finished run in `folder`, or settings that do not suit it.
    """
    from eval.benchmark.replicates import merge_seeds
    from eval.benchmark.sweep import benchmark_of, default_metrics, read_sweep, score_sweep
    from eval.benchmark.sweep_report import log_sweep, write_grids, write_plots
    from eval.reporting.page import write_report
    from eval.reporting.pareto import panels_of, write_pareto
    from eval.reporting.results import load_results
    from eval.reporting.tables import build_tables
    from eval.scoring.feature_store import FeatureStore

    sweep, output = read_sweep(folder, planned_jobs(folder)), settings.output or _beside(folder)
    metrics = settings.metrics or default_metrics(sweep)
    scoring = ScoreSettings(metrics=metrics, protocol=settings.protocol)
    benchmark, store = settings.benchmark or benchmark_of(sweep), FeatureStore(output / "features")
    scored = load_results(score_sweep(sweep, output, scoring, networks, benchmark=benchmark, store=store))
    results = merge_seeds(scored)
    for note in sweep.notes:
        log.warning("%s The same sweep with hydra.sweep.dir=%s goes on with them.", note, folder)
    built = build_tables(results, baseline=settings.baseline, fallback=results[0].label)
    tables = [replace(table, notes=(*sweep.notes, *table.notes)) for table in built]
    grids, plots, pictures = write_grids(sweep, output / "grids"), {}, []
    for number, table in enumerate(tables):
        # One of other frames has a table of its own, and its own plots.
        behind, own = "" if number == 0 else f"-{number + 1}", []
        if (path := write_plots(table, output / f"plots{behind}.png")) is not None:
            plots[path.stem] = path
            own.append(("All metrics", path))
        if panels := panels_of(table.results):
            pareto = output / f"seconds{behind}.png"
            own.append(("Quality against seconds", write_pareto(panels, pareto, seconds=SECONDS)))
        pictures.append(own)
    pictures[0] += [(path.stem, path) for path in grids]
    write_report(tables, output, settings, pictures=pictures)
    if settings.wandb is not None:
        tags = ["sweep", benchmark]
        logger = wandb_logger(project=settings.wandb, save_dir=str(output), group=sweep.name, tags=tags)
        log_sweep(tables, grids, plots, logger)


if __name__ == "__main__":
    main()
