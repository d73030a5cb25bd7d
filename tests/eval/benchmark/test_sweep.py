"""Sweeps: every experiment runs, and its report compares the variants over the same subjects."""

import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image

from eval.benchmark.sweep import read_sweep
from eval.report import main as report_main
from eval.reporting.results import Result
from src.common.errors import UserError
from src.pose.extractors.mini import MiniExtractor
from src.runs.run_folder import RunFolder
from src.train import main as train_main
from tests.conftest import ROOT, run_settings

EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
FAST = (
    *("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_test_frames=3"),
    "data.resolution=64",
)

COST = {"reference_frame": 0, "seconds": 1}
FINISHED = {"training": {}, "sampling": COST, "method": "posecrafter", "model": "tiny", "training_frames": [0]}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Run a sweep from the root of the project, where experiments are found; returns its folder."""

    def run(*overrides: str) -> Path:
        folder = tmp_path / "sweep"
        monkeypatch.chdir(ROOT)
        said = {override.partition("=")[0] for override in overrides}
        fast = [own for own in FAST if own.partition("=")[0] not in said]
        monkeypatch.setattr(sys, "argv", ["train", "-m", *overrides, *fast, f"hydra.sweep.dir={folder}"])
        train_main()
        return folder

    return run


def saved(
    folder: Path, subject: str, *overrides: str, also: Sequence[str] = (), said: Sequence[str] | None = None
) -> None:
    """A job that says it is finished; `also`: what its command line said beside, `said`: all that it said."""
    run, given = RunFolder(folder), [f"subject={subject}", "model=tiny", *overrides]
    run.path.mkdir()
    run.save_settings(run_settings(*given))
    run.save_summary(FINISHED | {"overrides": [*given, *also] if said is None else list(said)})


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs(sweep, experiment, tmp_path):
    frames = (
        () if "data.num_frames" in (ROOT / f"experiments/{experiment}.yaml").read_text() else ("data.num_frames=2",)
    )
    subjects = ("subject=people_001",)
    folder = sweep(f"experiment={experiment}", *subjects, *frames, f"fine_tune_cache={tmp_path / 'cache'}")
    found = read_sweep(folder)
    swept = OmegaConf.select(OmegaConf.load(ROOT / f"experiments/{experiment}.yaml"), "hydra.sweeper.params")
    values = [
        len(str(value).replace("],[", "];[").split(";" if "[" in str(value) else ","))
        for key, value in swept.items()
        if key not in ("subject", "model")
    ]
    assert len(found.variants) == len(found.runs) == np.prod(values) and not found.unfinished


def test_a_sweep_over_numbers_of_frames_trains_by_its_own_table_of_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    small = (value for value in FAST if not value.startswith("trainer.max_steps"))
    swept = ("experiment=ablation_frames", "subject=people_001", "data.num_frames=2,3", "fine_tune_cache=null")
    steps = ("+steps.2=1", "+steps.3=2")
    monkeypatch.setattr(sys, "argv", ["train", "-m", *swept, *steps, *small, f"hydra.sweep.dir={tmp_path}"])
    train_main()
    trained = [RunFolder(tmp_path / name).settings().trainer.max_steps for name in "01"]
    assert trained == [1, 2]


def test_the_report_compares_variants_subject_by_subject(sweep, call_main, tmp_path, monkeypatch):
    drawn: list[Figure] = []
    made = "eval.benchmark.sweep_report.Figure"
    monkeypatch.setattr(made, lambda **options: drawn.append(Figure(**options)) or drawn[-1])
    folder = sweep("method=controlvideo,noise", "subject=people_001,people_007", "data.num_frames=2")
    for job, seconds in enumerate((8.0, 10.0, 2.0, 3.0)):
        summary = json.loads((folder / f"{job}/summary.json").read_text())
        summary["sampling"]["seconds"] = seconds
        (folder / f"{job}/summary.json").write_text(json.dumps(summary))
    metrics = "metrics=[ssim,psnr,psnr-face,psnr-hands]"
    given = (f"sweep={folder}", metrics, "num_videos=1", "wandb=posecrafter", "benchmark=people")
    tracked, finish = {}, wandb.finish
    monkeypatch.setattr(wandb, "finish", lambda **how: (tracked.update(wandb.run.config), finish(**how)))
    status, stderr = call_main(report_main, *given)
    assert status == 0, stderr
    report = folder / "report"
    (table,) = json.loads((report / "tables.json").read_text())
    first, second = table["rows"]
    assert [first["label"], second["label"]] == ["controlvideo", "noise"] and table["benchmark"] == "people"
    assert first["metrics"]["psnr"]["difference"] is None and second["subjects"] == 2
    scores = [json.loads((report / f"scores/{name}.json").read_text()) for name in ("controlvideo", "noise")]
    differences = [
        scores[1]["clips"][name]["psnr"] - scores[0]["clips"][name]["psnr"] for name in ("people_001", "people_007")
    ]
    cell = second["metrics"]["psnr"]
    assert cell["difference"] == pytest.approx(np.mean(differences))
    assert cell["difference"] == pytest.approx(cell["value"] - first["metrics"]["psnr"]["value"])
    assert cell["difference_interval"] is None and cell["p_value"] is None, "two subjects say nothing of the others"
    page, notes = (report / "report.html").read_text(), " ".join(table["notes"])
    shared = "model=tiny · 2 training frames · 1 fine-tune step · 1 sampling step · 2 subjects · 3 test frames each"
    assert shared in page and "difference from controlvideo over the same subjects." in notes
    assert "Brackets" not in notes and "p-value" not in notes, "there are none"
    assert re.search(r"<small>\([+-][\d.]+\)</small>", page) and " to controlvideo" not in page
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["all subjects together", "a line a subject"]
    assert "partial, 2 of 12 subjects" in notes, "what a sweep leaves out of its benchmark is said"
    assert "data:image/webp" in (report / "report.html").read_text()
    assert {path.name for path in (report / "grids").iterdir()} == {"people_001.png", "people_007.png"}
    width, height = Image.open(report / "grids/people_001.png").size
    assert width > 3 * 64 and height > 4 * 64, "pose, truth and two variants, at three times"
    assert (report / "plots.png").stat().st_size > 5000 and (report / "seconds.png").stat().st_size > 5000
    assert list((report / "wandb").glob("offline-run-*")), "one view of the whole sweep"
    assert [*tracked["notes"].values()] == [table["notes"]] and "model=tiny: a stand-in" in notes, (
        "whose numbers these are"
    )

    # Nor are frames that a job did not make a row of it.
    frame, *others = sorted((folder / "0/frames").iterdir())
    kept = frame.read_bytes()
    frame.write_bytes(others[0].read_bytes())
    assert list(read_sweep(folder).unfinished.values()) == [
        "of people_001 by controlvideo, frames missing or changed since"
    ]
    frame.write_bytes(kept)
    (folder / "0/frames/.DS_Store").write_bytes(b"left by a file manager")
    assert not read_sweep(folder).unfinished

    # What was scored before is not scored again; a job that is not finished is said.
    before = (report / "scores/noise.json").stat().st_mtime_ns
    (folder / "0/summary.json").unlink()
    status, stderr = call_main(report_main, f"sweep={folder}", metrics, "num_videos=0", "baseline=noise")
    assert status == 0 and (report / "scores/noise.json").stat().st_mtime_ns == before
    (table,) = json.loads((report / "tables.json").read_text())
    assert table["notes"][0] == "In no row, since not finished: job 0, of people_001 by controlvideo."
    rows = table["rows"]
    assert rows[0]["label"] == "noise" or rows[1]["label"] == "noise"
    assert {row["label"]: row["subjects"] for row in rows} == {"controlvideo": 1, "noise": 2}

    # Under another benchmark's name, or where a metric was missing, it is.
    path = report / "scores/noise.json"
    lacking = json.loads(path.read_text()) | {"missing": {"lpips": "no weights"}}
    path.write_text(json.dumps(lacking))
    given = (f"sweep={folder}", metrics, "num_videos=0", "benchmark=tiktok")
    assert call_main(report_main, *given[:-1])[0] == 0 and json.loads(path.read_text())["missing"] == {}
    assert call_main(report_main, *given)[0] == 0 and json.loads(path.read_text())["benchmark"] == "tiktok"
    assert json.loads(path.read_text())["setup"] == {"stand_in": "model=tiny"}

    status, stderr = call_main(report_main, f"sweep={folder}", metrics, "baseline=disco")
    assert status == 2 and "baseline=disco is none of" in stderr

    # As of a sweep that was stopped before all jobs had begun.
    shutil.rmtree(folder / "1")
    assert call_main(report_main, f"sweep={folder}", metrics, "num_videos=0")[0] == 0
    (table,) = json.loads((report / "tables.json").read_text())
    never = "job 1, method=controlvideo, subject=people_007, which never began (or was moved away)."
    assert table["notes"][0].endswith(f"job 0, of people_001 by controlvideo; {never}")


def test_a_sweeps_report_loads_networks_once_and_looks_at_real_frames_once(sweep, call_main, tmp_path, monkeypatch):
    folder = sweep("method=controlvideo,noise", "subject=people_001", "data.num_frames=2")
    loaded, looked_at = [], []
    extract = MiniExtractor.extract

    class Counted(MiniExtractor):
        def __init__(self):
            loaded.append(self)
            super().__init__()

        def extract(self, frames, *, total=None):
            looked_at.append(total)
            return extract(self, frames, total=total)

    monkeypatch.setattr("eval.networks.networks.MiniExtractor", Counted)
    status, stderr = call_main(report_main, f"sweep={folder}", "metrics=[mse-p-mini]", "num_videos=0")
    assert status == 0, stderr
    assert len(loaded) == 1, "for both variants"
    assert len(looked_at) == 3, "the real frames, and those of each variant"


def test_a_failing_job_of_a_sweep_is_one_line_and_the_others_run(call_main, tmp_path):
    arguments = ("-m", "subject=people_099,people_001", "data.num_frames=2", *FAST, f"hydra.sweep.dir={tmp_path}/sweep")
    status, stderr = call_main(train_main, *arguments)
    assert status == 2 and "error: unknown subject people_099" in stderr and "Traceback" not in stderr
    found = read_sweep(tmp_path / "sweep")
    assert found.subjects == ["people_001"] and "HYDRA_FULL_ERROR" not in os.environ
    assert found.unfinished == {"0": "which wrote nothing yet (it failed, or is still preparing)"}
    status, stderr = call_main(train_main, "-m", "subject=people_001", "metod=x")
    assert status == 2 and stderr.startswith("error: metod is unknown: did you mean") and stderr.count("\n") == 1


def test_bad_sweeps_are_named(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        read_sweep(tmp_path / "gone")
    with pytest.raises(UserError, match="no finished run"):
        read_sweep(tmp_path)
    saved(tmp_path / "2", "anna", "sample_after_train=false")
    (tmp_path / "2/summary.json").unlink()
    told = r"no finished run \(job 2, of anna by posecrafter, which films nothing \(sample_after_train=false\)\): give"
    with pytest.raises(UserError, match=told):
        read_sweep(tmp_path)
    shutil.rmtree(tmp_path / "2")
    for job in ("2", "10"):
        saved(tmp_path / job, "anna")
    with pytest.raises(UserError, match="holds anna with the same settings twice, in 2 and 10: move all but one"):
        read_sweep(tmp_path)


def test_clips_are_called_as_eval_score_calls_them_and_keep_apart(tmp_path, compose_config):
    files = ("clips/anna.mp4", "a/ben.mp4", "b/ben.mp4", "people_001")
    for number, subject in enumerate(files):
        saved(tmp_path / str(number), subject)
    names = {run.subject: run.name for run in read_sweep(tmp_path).runs}
    assert (names["clips/anna.mp4"], names["people_001"]) == ("anna", "people_001")
    assert len(set(names.values())) == 4 and not any("/" in name for name in names.values())


@pytest.mark.parametrize(
    ("before", "after", "variants"),
    [
        ([], ["sampling.frame_chunk=2", "checkpoint_every_n_steps=7"], ["", ""]),
        ([], ["seed=0", "sampling.num_steps=3"], ["", ""]),
        (["sampling.num_steps=3"], ["sampling.num_steps=4"], ["num_steps=3", "num_steps=4"]),
        (["pose=dwpose"], ["pose=mediapipe"], ["pose=dwpose", "pose=mediapipe"]),
    ],
)
def test_what_changes_no_frame_makes_no_variant(tmp_path, before, after, variants):
    """As where a sweep that was stopped is given again for less memory, or with a default said."""
    saved(tmp_path / "0", "anna", *before)
    saved(tmp_path / "1", "ben", *after)
    assert [run.variant for run in read_sweep(tmp_path).runs] == variants


def test_runs_that_are_repeated_with_another_method_stand_in_its_row(tmp_path):
    for job, (who, method) in enumerate(itertools.product(("anna", "ben"), ("noise", "selection"))):
        saved(tmp_path / str(job), who, f"method={method}", also=[f"repeat={who}"])
    assert [run.variant for run in read_sweep(tmp_path).runs] == ["noise", "selection"] * 2


def test_runs_that_are_repeated_and_differ_in_their_settings_stand_in_rows_of_their_own(tmp_path):
    runs = {"anna": ("20", "a"), "ben": ("50", "b"), "carl": ("20", "c")}
    for job, (who, method) in enumerate(itertools.product(runs, ("noise", "selection"))):
        steps, prompt = runs[who]
        given = (f"method={method}", f"sampling.num_steps={steps}", f"prompt={prompt}")
        saved(tmp_path / str(job), who, *given, said=[f"repeat={who}", f"method={method}"])
    assert [run.variant for run in read_sweep(tmp_path).runs] == [
        *("noise, num_steps=20", "selection, num_steps=20", "noise, num_steps=50", "selection, num_steps=50"),
        *("noise, num_steps=20", "selection, num_steps=20"),
    ]


def test_jobs_of_other_trainers_or_experiments_stand_in_the_rows_of_their_settings(tmp_path):
    for job, (who, steps) in enumerate((("anna", 20), ("ben", 50), ("carl", 20))):
        bundle = ("trainer=a", "trainer=b", "experiment=c")[job]
        saved(tmp_path / str(job), who, "method=noise", f"trainer.max_steps={steps}", said=[f"subject={who}", bundle])
    assert [run.variant for run in read_sweep(tmp_path).runs] == ["max_steps=20", "max_steps=50", "max_steps=20"]


def test_of_many_settings_the_experiment_tells_jobs_apart(tmp_path):
    many = [f"sampling.{key}=7" for key in ("num_steps", "guidance_scale", "inversion_iterations", "window_frames")]
    for job, given in enumerate(([], [*many, "trainer.max_steps=7"])):
        saved(tmp_path / str(job), "anna", *given, said=["subject=anna", f"experiment={'ab'[job]}"])
    assert [run.variant for run in read_sweep(tmp_path).runs] == ["experiment=a", "experiment=b"]


def test_one_person_on_two_devices_is_told_apart_by_them(tmp_path):
    for job, device in enumerate(("auto", "cpu")):
        saved(tmp_path / str(job), "anna", f"trainer.accelerator={device}", said=["subject=anna", f"trainer={device}"])
    assert [run.variant for run in read_sweep(tmp_path).runs] == ["trainer=auto", "trainer=cpu"]


def test_a_seed_that_nobody_said_is_one_of_the_seeds(tmp_path):
    for job, seed in enumerate(([], ["seed=1"], ["seed=2"])):
        saved(tmp_path / str(job), "anna", "method=noise", *seed)
    assert [run.variant for run in read_sweep(tmp_path).runs] == ["seed=0", "seed=1", "seed=2"]


def test_what_changes_no_frame_is_a_variant_where_it_was_swept(tmp_path):
    for job, chunk in enumerate((1, 2)):
        saved(tmp_path / str(job), "anna", f"sampling.frame_chunk={chunk}")
    assert [run.variant for run in read_sweep(tmp_path).runs] == ["frame_chunk=1", "frame_chunk=2"]


def test_paired_differences_ignore_what_subjects_have_in_common():
    def result(values: list[float]) -> Result:
        clips = {f"s{i}": {"psnr": value, "frames": 10.0} for i, value in enumerate(values)}
        protocol = type("P", (), {"pooling": "frames"})()
        metrics = {"psnr": {"value": float(np.mean(values))}}
        return Result(Path(), "b", "m", 8, protocol, metrics, {}, clips, ())

    base = [10.0, 20.0, 30.0, 40.0, 50.0]
    found = result([v + 1 for v in base]).difference(result(base), "psnr")
    assert found.value == pytest.approx(1) and found.interval == pytest.approx((1, 1))
    assert found.p_value == pytest.approx(0.0625), "five subjects, all one way"
    assert result(base).difference(Result(Path(), "b", "m", 8, None, {}, {}, {}, ()), "psnr") is None


def test_a_sweep_of_several_tables_has_plots_of_each_and_one_view_of_all(sweep, call_main, monkeypatch):
    """Frames of other sizes share no table; as it was, plots and W&B showed the first table's alone."""
    folder = sweep("subject=people_001", "data.resolution=64,128", "data.num_frames=2")
    tables, finish = [], wandb.finish
    monkeypatch.setattr(WandbLogger, "log_table", lambda logger, name, columns, data: tables.append((columns, data)))
    monkeypatch.setattr(wandb, "finish", lambda **how: (tables.append(dict(wandb.run.config)), finish(**how)))
    given = (f"sweep={folder}", "metrics=[psnr]", "num_videos=0", "wandb=posecrafter")
    assert call_main(report_main, *given)[0] == 0
    assert {path.name for path in (folder / "report").glob("plots*")} == {"plots.png", "plots-2.png"}
    assert (folder / "report/report.html").read_text().count("<b>All metrics</b>") == 2
    (columns, rows), config = tables
    assert columns == ["variant", "size", "subjects", "psnr"]
    assert [row[:3] for row in rows] == [["resolution=128", "128x128", 1], ["resolution=64", "64x64", 1]]
    assert len(config["notes"]) == 2

    # What was of it goes with a table, and nothing else.
    shutil.copyfile(folder / "report/plots.png", folder / "report/plots-3.png")
    (large,) = (path.parent for path in folder.glob("*/config.yaml") if "resolution: 128" in path.read_text())
    shutil.move(large, "elsewhere")
    assert call_main(report_main, *given[:3])[0] == 0
    assert {path.name for path in (folder / "report").glob("plots*")} == {"plots.png", "plots-3.png"}

    ended = []
    monkeypatch.setattr(WandbLogger, "log_table", lambda *_, **__: (_ for _ in ()).throw(UserError("no more")))
    monkeypatch.setattr(wandb, "finish", lambda exit_code=0: (ended.append(exit_code), finish(exit_code)))
    status, told = call_main(report_main, *given)
    assert status == 2 and "error: no more" in told and ended == [1]
