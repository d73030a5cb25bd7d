"""The benchmark runner on two rendered subjects with the toy model."""

import dataclasses
import errno
import json
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch
import wandb
from hydra import compose, initialize_config_dir

import eval.benchmark.run_benchmark
import eval.benchmark.subject_run
import eval.networks.weights
import eval.run
from eval.benchmark.run_benchmark import FILE_NAME, run_benchmark
from eval.benchmark.settings import BenchmarkSettings
from eval.reporting.results import load_results
from src.app.entry import settings_of
from src.common.errors import ResourceError, UserError
from src.common.paths import CONF_DIR
from src.media.video import read_video
from src.runs.run_folder import RunFolder

SMALL = ["model=tiny", "num_frames=2", "data.num_test_frames=2", "data.resolution=64", "prepared_resolution=64"]
FAST = ["trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "metrics=[ssim,psnr]", "device=cpu"]
TWO = "subjects=[people_001,people_007]"


def config(folder: Path, *overrides: str) -> BenchmarkSettings:
    where = [f"output={folder}/eval", f"runs={folder}/runs", f"data.root={folder}/data", "fine_tune_cache=null"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return settings_of(
            BenchmarkSettings, compose("eval", ["benchmark=people", TWO, *SMALL, *FAST, *where, *overrides])
        )


def run(settings: BenchmarkSettings) -> dict[str, Any]:
    done = run_benchmark(settings, loggers=lambda folder: ())
    assert done is not None
    return done[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with a finished benchmark, and its result."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, run(config(folder))


def not_again(*_: object, **__: object) -> None:
    raise AssertionError("this stage was finished before")


def test_the_result_says_what_was_measured_on_what(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, result = finished
    (path,) = (folder / "eval/people").glob(f"posecrafter-2-tiny-paper-*/{FILE_NAME}")
    assert json.loads(path.read_text()) == result
    assert (result["benchmark"], result["method"], result["num_frames"]) == ("people", "posecrafter", 2)
    assert result["dataset"]["expected"] == 12 and result["dataset"]["failed"] == {}
    assert set(result["clips"]) == set(result["subjects"]) == {"people_001", "people_007"}
    assert result["metrics"]["psnr"]["frames"] == 4
    own = [clip["ssim"] for clip in result["clips"].values()]
    assert result["metrics"]["ssim"]["value"] == pytest.approx(sum(own) / 2)
    assert result["protocol"]["name"] == "paper" and result["settings"]["trainer"]["max_steps"] == 1
    assert {"torch", "diffusers", "torchmetrics"} <= set(result["versions"])
    assert result["seconds"]["fine_tune"] > 0 and result["seconds"]["sample"] > 0 and result["peak_memory_gib"] > 0
    for files in result["files"].values():
        assert {len(read_video(Path(files[side])).frames) for side in ("generated", "real")} == {2}


def test_the_report_reads_it_and_says_how_partial_it_is(finished: tuple[Path, dict[str, Any]]) -> None:
    [result] = load_results([next((finished[0] / "eval/people").glob("posecrafter-2-tiny-paper-*"))])
    assert result.label == "posecrafter (2)" and result.interval("psnr") is None, "two subjects"
    assert len(result.clips) == 2 and result.dataset.expected == 12


def test_what_is_finished_is_not_done_again(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result = finished
    monkeypatch.setattr("src.runs.person.build_models", not_again)
    monkeypatch.setattr(eval.benchmark.run_benchmark, "read_clip", not_again)
    assert run(config(folder)) == result
    with pytest.raises(UserError, match="could be scored; people_001: AssertionError: this stage"):
        run(config(folder, "trainer.max_steps=2"))


@pytest.mark.parametrize("name", ["held_out_*/frames/00001.png", "held_out_*/poses.npz", "training/frames/00000.png"])
def test_true_and_training_frames_that_were_changed_are_made_again_alone(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog, name: str
) -> None:
    """They are scored against, and say what the person looks like: what another put there would be the result."""
    monkeypatch.setattr("src.runs.person.build_models", not_again)
    for part in ("runs", "data"):
        shutil.copytree(finished[0] / part, tmp_path / part)
    [path] = tmp_path.glob(f"runs/people/people_001_*/{name}")
    before = path.read_bytes()
    [other] = tmp_path.glob(f"runs/people/people_007_*/{name}")
    shutil.copyfile(other, path)
    scored = run(config(tmp_path, "subjects=[people_001]"))
    assert scored["clips"]["people_001"] == finished[1]["clips"]["people_001"] and path.read_bytes() == before
    assert caplog.text.count("is not as it was written: made again") == 1
    shutil.rmtree(path.parent)
    run(config(tmp_path, "subjects=[people_001]"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["samples", "held_out_*", "samples/*/frames"])
def test_nothing_that_is_finished_is_scored_through_a_link(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr("src.runs.person.build_models", not_again)
    for part in ("runs", "data"):
        shutil.copytree(finished[0] / part, tmp_path / part)
    [path] = tmp_path.glob(f"runs/people/people_001_*/{name}")
    path.rename(tmp_path / "theirs")
    path.symlink_to(tmp_path / "theirs")
    with pytest.raises(UserError, match=re.escape(f"{path} is a link")):
        run(config(tmp_path, "subjects=[people_001]"))


def test_a_place_or_a_device_that_is_not_to_be_had_is_found_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, call_main, tmp_path: Path
) -> None:
    """And before a subject is prepared: one line, not one a subject."""
    monkeypatch.setattr("src.runs.person.build_models", not_again)
    (tmp_path / "a_file").touch()
    where = ("data.root=data", "output=out", "runs=runs", "fine_tune_cache=null")
    for given, wrong in (
        (["runs=a_file"], "a_file/people cannot be written: "),
        ([f"fine_tune_cache={'x' * 300}"], "cannot be read: "),
        (["trainer.accelerator=gpu", "trainer.devices=[99]"], "accelerator=gpu, devices=[99], precision="),
        (["device=cuda:99"], "device=cuda"),
    ):
        status, told = call_main(eval.run.main, "benchmark=people", TWO, *SMALL, *FAST, *where, *given)
        assert status == 2 and told.count("\n") == 1 and told.startswith("error: ") and wrong in told, told
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_another_extractor_than_the_protocols_is_refused_before_a_subject_is_prepared(call_main, tmp_path) -> None:
    where = ["data.root=data", "output=out", "runs=runs", "fine_tune_cache=null"]
    status, told = call_main(eval.run.main, "benchmark=people", TWO, *SMALL, *FAST, *where, "pose=mini")
    assert status == 2 and told.startswith("error: protocol paper takes poses by dwpose, but pose=mini: "), told
    assert not list(tmp_path.iterdir())


def test_what_is_finished_where_nothing_can_be_written_is_scored_all_the_same(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is looked at once; what is not finished there is said to fail for it."""
    looked: list[object] = []

    def refused(place: object) -> None:
        looked.append(place)
        raise ResourceError(f"{place} cannot be written: it is read-only", errno.EROFS)

    monkeypatch.setattr(eval.benchmark.subject_run, "check_place", refused)
    assert run(config(finished[0])) == finished[1]
    assert looked == [finished[0] / "runs/people"]
    monkeypatch.setattr("src.runs.person.build_models", not_again)
    with pytest.raises(
        UserError, match="could be scored; people_001: .*runs/people cannot be written: it is read-only"
    ):
        run(config(finished[0], "trainer.max_steps=2"))
    assert len(looked) == 2


def test_a_place_for_runs_in_which_nothing_can_be_written_nor_is_finished_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(place: object) -> None:
        raise ResourceError(f"{place} cannot be written: it is read-only", errno.EROFS)

    monkeypatch.setattr(eval.benchmark.subject_run, "check_place", refused)
    (tmp_path / "runs/people").mkdir(parents=True)
    with pytest.raises(ResourceError, match="^[^;]*runs/people cannot be written: it is read-only$"):
        run(config(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_methods_share_the_fine_tune(finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, posecrafter = finished
    monkeypatch.setattr("src.runs.learn.fine_tune", not_again)
    noise = run(config(folder, "method=noise"))
    assert noise["method"] == "noise" and noise["dataset"]["failed"] == {}
    for name, files in noise["files"].items():
        ours, other = Path(files["generated"]), Path(posecrafter["files"][name]["generated"])
        assert ours.parents[1] == other.parents[1]
        assert (read_video(ours).frames != read_video(other).frames).any(), "another method, another video"
    assert len(list((folder / "runs/people").iterdir())) == 2


def test_a_result_of_fewer_metrics_does_not_replace_one_of_more(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, result = finished
    with pytest.raises(UserError, match=r"holds psnr as well, which would be lost: ask for them too \(metrics="):
        run(config(folder, "metrics=[ssim]"))
    (path,) = (folder / "eval/people").glob(f"posecrafter-2-tiny-paper-*/{FILE_NAME}")
    assert json.loads(path.read_text()) == result


def test_other_test_frames_are_scored_against_their_own(tmp_path: Path) -> None:
    """What is learnt does not depend on them, and so the folder is the same."""
    one = "subjects=[people_001]"
    for count in (2, 3, 2):
        result = run(config(tmp_path, one, f"data.num_test_frames={count}", f"label=of{count}"))
        files = result["files"]["people_001"]
        assert {len(read_video(Path(files[side])).frames) for side in ("generated", "real")} == {count}
        assert result["dataset"]["failed"] == {} and result["clips"]["people_001"]["frames"] == count
    assert len(list((tmp_path / "runs/people").iterdir())) == 2, "the person and the features"


def test_one_failing_subject_is_reported_and_does_not_stop_the_rest(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = finished
    real = eval.benchmark.run_benchmark.run_subject

    def fail_first(name: str, *rest: Any, **options: Any) -> Any:
        if name == "people_001":
            raise RuntimeError("out of memory")
        return real(name, *rest, **options)

    monkeypatch.setattr(eval.benchmark.run_benchmark, "run_subject", fail_first)
    result = run(config(folder, "label=partial"))
    assert result["dataset"]["failed"] == {"people_001": "RuntimeError: out of memory"}
    assert set(result["clips"]) == {"people_007"}
    assert result["metrics"]["psnr"]["value"] == pytest.approx(whole["clips"]["people_007"]["psnr"])


def test_an_unknown_metric_stops_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metrics must be some of paper, .*ssim, psnr.*each once; got ssim, niqe"):
        run(config(tmp_path, "metrics=[ssim,niqe]"))
    assert list(tmp_path.iterdir()) == []


def test_all_failing_is_an_error(finished: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="no subject of people could be scored; people_001: .*num_frames"):
        run(config(finished[0], "num_frames=80"))


def test_another_seed_protocol_or_extractor_is_another_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name shows that a protocol was changed, and no result is written over one of other settings."""
    own = config(tmp_path)
    assert own.default_label().startswith("posecrafter-2-tiny-paper-")
    others = (
        "seed=1",
        "sampling.num_steps=2",
        "protocol.ssim.color=gray",
        "pose.confidence_threshold=0.5",
        "model.random_seed=1",
    )
    labels = [config(tmp_path, other).default_label() for other in others]
    assert len({own.default_label(), *labels}) == len(others) + 1
    assert "paper-changed-" in labels[2] and "changed" not in labels[0]
    assert config(tmp_path, "batch_size=3", "device=cpu", "runs=elsewhere").default_label() == own.default_label()
    before, known = own.default_label(), eval.networks.weights.FILES["alex"]
    monkeypatch.setitem(eval.networks.weights.FILES, "alex", dataclasses.replace(known, sha256="0" * 64))
    assert config(tmp_path).default_label() != before, "another network"


def test_the_file_that_judges_is_part_of_a_result_where_nobody_publishes_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / eval.networks.weights.FILES["i3d-pytorch"].file

    def label(metric: str, protocol: str = "disco") -> str:
        weights = f"weights={tmp_path}/weights"
        return config(tmp_path, f"protocol={protocol}", f"metrics=[{metric},ssim]", weights).default_label()

    absent = label("fvd"), label("psnr"), label("fvd", "paper")
    file.write_bytes(b"one")
    first = label("fvd")
    file.write_bytes(b"another")
    assert len({absent[0], first, label("fvd")}) == 3, "each file is another result"
    assert (label("psnr"), label("fvd", "paper")) == absent[1:], "who does not ask for it is not concerned"


def test_a_label_of_another_result_is_refused(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, result = finished
    (path,) = (folder / "eval/people").glob(f"posecrafter-2-tiny-paper-*/{FILE_NAME}")
    with pytest.raises(UserError, match="holds a result of other settings"):
        run(config(folder, f"label={path.parent.name}", "seed=1"))
    assert json.loads(path.read_text()) == result


def test_wandb_gets_config_numbers_table_and_videos_in_the_benchmarks_group(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, call_main
) -> None:
    folder, result = finished
    seen: dict[str, Any] = {}

    class Recorder:
        def __init__(self, **options: Any) -> None:
            seen.update(options, metrics={}, videos=[])
            self.experiment = self
            self.config = seen["config"] = {}

        def log_metrics(self, metrics: dict[str, float]) -> None:
            seen["metrics"].update(metrics)

        def log_table(self, name: str, columns: list[str], data: list[list[Any]]) -> None:
            seen["table"] = (columns, data)

        def log(self, values: dict[str, Any]) -> None:
            seen["videos"] += list(values)

    monkeypatch.setattr(eval.run, "wandb_logger", Recorder)
    where = [f"output={folder}/eval", f"runs={folder}/runs", f"data.root={folder}/data", "fine_tune_cache=null"]
    given = ["benchmark=people", TWO, *SMALL, *FAST, *where, "logger=wandb", "label=tracked"]
    assert call_main(eval.run.main, *given) == (0, ANY)
    assert seen["group"] == "people" and {"eval", "posecrafter", "tiny", "2 frames"} <= set(seen["tags"])
    assert seen["config"]["protocol"] == result["protocol"]
    assert seen["config"]["setup"]["stand_in"] == "model=tiny", "the tables say so too"
    assert seen["metrics"]["psnr"] == result["metrics"]["psnr"]["value"]
    assert seen["table"][0] == ["subject", "frames", "ssim", "psnr"]
    assert [row[0] for row in seen["table"][1]] == ["people_001", "people_007"]
    assert seen["videos"] == ["videos/people_001", "videos/people_007"]


def test_wandb_is_told_how_each_subject_and_the_result_ended(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, call_main, tmp_path: Path
) -> None:
    """Of a subject that failed behind its fit as of one that failed in it; what fails later is another's."""
    begun, ended = [""], []
    start, finish, save_clip = wandb.init, wandb.finish, RunFolder.save_clip

    def init(**options: Any) -> Any:
        begun.append(options["name"][:10])
        return start(**options)

    def end(exit_code: int = 0) -> None:
        ended.append((begun[-1], exit_code))
        finish(exit_code)
        if begun[-1] == "people_001":
            raise ConnectionResetError("W&B has gone")

    def save_one(samples: RunFolder, *rest: Any, **options: Any) -> Any:
        if "people_001" in str(samples.path):
            raise UserError("no space left")
        return save_clip(samples, *rest, **options)

    def refuse(*_: object, **__: object) -> None:
        raise UserError("no more")

    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "finish", end)
    monkeypatch.setattr(RunFolder, "save_clip", save_one)
    shutil.copytree(finished[0] / "data", tmp_path / "data")
    where = ("output=eval", "runs=runs", "data.root=data", "fine_tune_cache=null", "logger=wandb")
    given = ("benchmark=people", TWO, *SMALL, *FAST, *where)
    with monkeypatch.context() as patch:
        patch.setattr(eval.benchmark.run_benchmark, "score", refuse)
        assert call_main(eval.run.main, *given)[0] == 2
    assert ended == [("people_001", 1), ("people_007", 0)]
    ended.clear()
    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger.log_table", refuse)
    assert call_main(eval.run.main, *given, "subjects=[people_007]", "label=result")[0] == 2
    assert ended == [("result", 1)]


def test_what_a_benchmarks_data_are_given_by_is_told(call_main, tmp_path: Path) -> None:
    status, told = call_main(eval.run.main, "benchmark=tiktok", "model=tiny")
    expected = (
        "error: dataset.root is not set: give a folder of DisCo's TSV files, or of folders of frames: dataset.root="
    )
    assert status == 2 and told.startswith(expected) and 'ARGS="dataset.root=<folder>"' in told
    header = "video_id,start,end,bbox,fps,width,height,partition"
    (tmp_path / "ted.csv").write_text(f"{header}\nabc,0,90,0-0-64-64,25,128,64,train\n")
    status, told = call_main(eval.run.main, "benchmark=ted", "model=tiny", "dataset.metadata=ted.csv", *FAST)
    assert status == 2 and "dataset.partition=test, only of train: dataset.partition=train takes those" in told


def test_a_benchmark_is_of_its_data_set_and_others_have_a_name_of_their_own(call_main, tmp_path: Path) -> None:
    """As it was, anybody's clips stood beside the paper's numbers of TikTok."""
    mine = ("benchmark=tiktok", "model=tiny", "dataset=folder", "dataset.root=nowhere", "download=false", *FAST)
    status, told = call_main(eval.run.main, *mine)
    assert status == 2 and told.startswith("error: benchmark=tiktok is of dataset=tiktok, not of dataset=folder: give ")
    status, told = call_main(eval.run.main, *mine, "benchmark.name=mine")
    assert status == 2 and "dataset.root=nowhere is no folder" in told
    status, told = call_main(eval.run.main, *(*mine[:2], "dataset=youtube", *mine[3:]))
    assert status == 2 and "tiktok is of dataset=tiktok, not of dataset=youtube: give " in told


@pytest.mark.parametrize(
    ("benchmark", "extra", "model", "num_test"),
    [
        ("tiktok", ["dataset.root=x"], "sd15", 100),
        ("ted", [], "sd15", 100),
        ("people", [], "mini", 24),
    ],
)
def test_every_benchmark_composes(benchmark: str, extra: list[str], model: str, num_test: int) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        own = settings_of(BenchmarkSettings, compose("eval", [f"benchmark={benchmark}", *extra]))
        tiny = settings_of(
            BenchmarkSettings,
            compose("eval", [f"benchmark={benchmark}", "model=tiny", "num_frames=16", "method=controlvideo", *extra]),
        )
    assert own.model.name == model and own.data.num_test_frames == num_test
    assert own.dataset.kind == own.benchmark.name == benchmark
    assert tiny.default_label().startswith("controlvideo-16-tiny-paper-")
    run = tiny.run("x")
    assert run.data.num_frames == 16 and run.data.num_test_frames == num_test and run.model.name == "tiny"
