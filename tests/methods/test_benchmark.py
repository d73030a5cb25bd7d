"""The other systems in the benchmark: two rendered people, toy weights, one table with all methods."""

import base64
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import cv2
import numpy as np
import pytest

import eval.run
from eval.benchmark.run_benchmark import run_benchmark
from eval.benchmark.settings import BenchmarkSettings
from eval.reporting.results import load_results
from eval.reporting.tables import build_tables
from src.app.entry import settings_of
from src.baselines.conditions import BACKGROUND, render_parts
from src.data.datasets.base import numbered
from src.data.datasets.tsv import TsvFile, find_clips
from src.data.rendered import kind_of
from src.media.video import read_video
from src.people.identity import sample_identity
from src.people.parts import render_clip_parts
from tests.conftest import CLIPS

SMALL = ["model=tiny", "num_frames=2", "data.num_test_frames=3", "prepared_resolution=128", "data.resolution=128"]
FAST = ["trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "metrics=[ssim,psnr]", "device=cpu"]
TWO = "subjects=[people_001,people_007]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("all_methods")


def words(folder: Path, *overrides: str) -> list[str]:
    where = [f"output={folder}/eval", f"runs={folder}/runs", f"data.root={folder}/data"]
    return [*SMALL, *FAST, *where, f"fine_tune_cache={folder}/cache", *overrides]


@pytest.fixture(scope="module")
def settings(compose_config):
    def make(folder: Path, *overrides: str, benchmark: str = "people") -> BenchmarkSettings:
        given = [f"benchmark={benchmark}", *words(folder, *overrides)]
        return settings_of(BenchmarkSettings, compose_config("eval", *given))

    return make


def run(settings: BenchmarkSettings) -> dict[str, Any]:
    done = run_benchmark(settings, loggers=lambda folder: ())
    assert done is not None
    return done[0]


@pytest.fixture(scope="module")
def results(folder, settings, magicanimate_options, disco_options, short_fine_tune) -> dict[str, dict[str, Any]]:
    """All methods on two rendered people."""
    lines = {
        "posecrafter": [],
        "controlvideo": ["method=controlvideo"],
        "magicanimate": magicanimate_options,
        "disco": ["method=disco", *disco_options],
        "disco-finetuned": ["method=disco_ft", *disco_options, *short_fine_tune],
    }
    return {name: run(settings(folder, TWO, *options)) for name, options in lines.items()}


def test_every_row_says_how_it_was_made(results) -> None:
    said = {name: (r["method"], r["num_frames"], r["model"]) for name, r in results.items()}
    assert said == {
        "posecrafter": ("posecrafter", 2, "tiny"),
        "controlvideo": ("controlvideo", 2, "tiny"),
        "magicanimate": ("magicanimate", 1, "tiny"),
        "disco": ("disco", 1, None),
        "disco-finetuned": ("disco-finetuned", 2, None),
    }
    for name, result in results.items():
        assert set(result["clips"]) == {"people_001", "people_007"} and result["dataset"]["failed"] == {}, name
        assert result["sizes"] == ["128x128"]
        setup = result["setup"]
        own = name in ("posecrafter", "controlvideo")
        assert (setup["frames"], setup.get("resize")) == ((["128x128"], None) if own else (["64x64"], "bicubic"))
        assert setup["stand_in"] == ("model=tiny" if own or name == "magicanimate" else ANY) is not None
    assert results["magicanimate"]["setup"]["sources"] == {"conditions": {"the renderer": 2}}
    assert results["disco"]["setup"]["sources"] == {"masks": {"the renderer": 2}}
    assert results["disco"]["setup"]["stand_in"].startswith("weights of a UNet of ")
    assert results["disco"]["seconds"]["fine_tune"] is None and results["disco-finetuned"]["seconds"]["fine_tune"] > 0
    for result in results.values():
        for files in result["files"].values():
            frames = read_video(Path(files["generated"])).frames
            assert len(frames) == 3 and frames.std() > 0


def test_one_table_has_all_methods_and_says_what_stands_in(results, folder) -> None:
    [table] = build_tables(load_results([folder / "eval"]))
    assert [row.method for row in table.rows] == sorted(results)
    notes = "\n".join(table.notes)
    assert "weights of a UNet of" in notes and "no published number (disco (1), disco-finetuned (2))." in notes
    assert "model=tiny: a stand-in, which reproduces no published number (controlvideo (2), magicanimate (1)" in notes
    assert "driven by DensePose, frames of 64x64, brought to 128x128 (bicubic)" in notes
    assert "conditions of 2 of 2 subjects (the renderer: 2)" in notes
    assert "masks of 2 of 2 subjects (the renderer: 2)" in notes


def test_what_is_finished_is_not_done_again(results, folder, settings, disco_options, short_fine_tune, monkeypatch):
    monkeypatch.setattr("src.methods.disco.load_disco", None)
    options = ["method=disco_ft", *disco_options, *short_fine_tune]
    assert run(settings(folder, TWO, *options)) == results["disco-finetuned"]
    # What comes from no network, the reading of the result apart, is found as well under another label.
    again = run(settings(folder, TWO, *options, "label=again"))
    assert again["clips"] == results["disco-finetuned"]["clips"]


def test_a_fine_tune_is_shared_by_what_differs_in_sampling_alone(
    results, folder, settings, disco_options, short_fine_tune, monkeypatch
) -> None:
    monkeypatch.setattr("src.methods.disco.Fitting", None)
    options = ["method=disco_ft", *disco_options, *short_fine_tune, "method.guidance_scale=3"]
    other = run(settings(folder, TWO, *options))
    assert other["dataset"]["failed"] == {}
    one, two = (r["subjects"]["people_001"] for r in (other, results["disco-finetuned"]))
    assert one["fine_tune"] == two["fine_tune"] and one["fine_tune"]["steps"] == 3
    # The cache serves another folder of runs.
    elsewhere = run(settings(folder, TWO, *options, f"runs={folder}/elsewhere", f"output={folder}/other"))
    assert elsewhere["clips"] == other["clips"]


def test_a_stopped_fine_tune_goes_on_to_the_same_tensors(
    results, folder, settings, tmp_path, disco_options, short_fine_tune, monkeypatch
) -> None:
    import src.training.fitting

    class Killed(BaseException):
        pass

    def kill(self, trainer, *rest) -> None:
        if trainer.global_step == 2:
            raise Killed

    options = ["method=disco_ft", *disco_options, *short_fine_tune, "subjects=[people_001]", "fine_tune_cache=null"]
    own = settings(tmp_path, *options, "checkpoint_every_n_steps=1")
    with monkeypatch.context() as patch:
        patch.setattr(src.training.fitting.StepTimer, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            run(own)
    [checkpoint] = tmp_path.glob("runs/people/*/checkpoints/last.ckpt")
    assert not list(tmp_path.glob("runs/people/*/adapter.safetensors"))
    run(own)
    assert not checkpoint.exists()
    [resumed] = tmp_path.glob("runs/people/*/adapter.safetensors")
    [whole] = folder.glob(f"runs/people/{resumed.parent.name}/adapter.safetensors")
    assert resumed.read_bytes() == whole.read_bytes()


def test_subjects_without_a_condition_are_one_line_each_and_counted(
    folder, settings, tmp_path, magicanimate_options, caplog
) -> None:
    """Given as an array of parts, as a video would be; the other subject has none."""
    root = tmp_path / "densepose"
    root.mkdir()
    parts = render_clip_parts(sample_identity(1), kind_of("people_001"), 56, 128, 1)
    np.savez(root / "people_001.npz", parts=parts)
    options = [*magicanimate_options, f"dataset.condition_root={root}", f"output={tmp_path}"]
    result = run(settings(folder, TWO, *options))
    assert set(result["clips"]) == {"people_001"}
    assert result["dataset"]["failed"] == {"people_007": ANY}
    line = result["dataset"]["failed"]["people_007"]
    assert line.startswith(f"MagicAnimate needs a DensePose condition for people_007, and there is none in {root}")
    assert "\n" not in line and result["setup"]["sources"] == {"conditions": {"parts": 1}}
    [table] = build_tables(load_results([tmp_path]))
    assert any("conditions of 1 of 2 subjects (parts: 1)" in note for note in table.notes)
    # The renderer's own and the same from a file are one input: what was generated before is used.
    assert len(list(folder.glob("runs/people/people_001_magicanimate-*/samples/*"))) == 1


def test_another_condition_is_another_video(results, folder, settings, tmp_path, magicanimate_options) -> None:
    root = tmp_path / "densepose"
    frames = render_parts(np.zeros((56, 128, 128), np.uint8))
    root.mkdir()
    (root / "people_001").mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(root / "people_001" / f"{index:03d}.png"), frame[..., ::-1])
    options = [*magicanimate_options, f"dataset.condition_root={root}", f"output={tmp_path}", "subjects=[people_001]"]
    result = run(settings(folder, *options))
    ours, other = (
        read_video(Path(r["files"]["people_001"]["generated"])).frames for r in (results["magicanimate"], result)
    )
    assert (ours != other).any() and result["setup"]["sources"] == {"conditions": {"frames": 1}}


def test_weights_that_are_not_there_end_the_command_before_any_work(folder, call_main, tmp_path) -> None:
    for method, message in (
        ("magicanimate", "error: method=magicanimate needs its weights of zcxu-eric/MagicAnimate"),
        ("disco", "error: method=disco needs its weights, mp_rank_00_model_states.pt"),
        ("disco_ft", "error: method=disco_ft needs its weights, mp_rank_00_model_states.pt"),
    ):
        status, error = call_main(eval.run.main, "benchmark=people", TWO, f"method={method}", *words(folder))
        assert status == 2 and error.splitlines()[-1].startswith(message)


def test_disco_learns_and_films_at_one_size(folder, call_main) -> None:
    given = ["benchmark=people", TWO, *words(folder), "method=disco_ft", "method.fine_tune.resolution=100"]
    status, error = call_main(eval.run.main, *given)
    assert status == 2 and "method.fine_tune.resolution=100 and method.resolution=256 are of one model" in error


def test_the_command_lists_the_methods(run_module) -> None:
    shown = run_module("eval.run", "benchmark=people", "--help").stdout
    listed = "".join(shown.split("\nmethod:")[1].split("chosen:")[0].split()).split(",")
    kinds = {"posecrafter", "controlvideo", "noise", "selection", "insertion"}
    assert set(listed) >= kinds | {"magicanimate", "disco", "disco_ft", "external"}


def test_discos_own_data(settings, tmp_path, magicanimate_options, disco_options, short_fine_tune) -> None:
    """DisCo's TSV sample with its own masks; the DensePose of an empty picture, since none can be made."""
    root = CLIPS.parent / "disco_tsv"
    if not root.is_dir():
        pytest.skip(f"{root} is not there: DisCo's sample comes with the shared data")
    images, clip_of_row = TsvFile(root / "train_images.tsv"), TsvFile(root / "train_vid2line.tsv")
    masks, clips = TsvFile(root / "train_masks.tsv"), find_clips(images, clip_of_row)
    names = [numbered("tiktok", index) for index in range(len(clips))]
    for name, clip in zip(names, clips, strict=True):
        for folder in ("masks", "densepose"):
            (tmp_path / folder / name).mkdir(parents=True)
        for index in range(len(clip)):
            (tmp_path / "masks" / name / f"{index:03d}.jpg").write_bytes(
                base64.b64decode(masks.row(clip.first + index)[1])
            )
            empty = np.full((128, 128, 3), BACKGROUND[::-1], np.uint8)
            cv2.imwrite(str(tmp_path / "densepose" / name / f"{index:03d}.png"), empty)
    beside = [f"dataset.condition_root={tmp_path}/densepose", f"dataset.mask_root={tmp_path}/masks"]
    common = [
        f"dataset.root={root}",
        f"dataset.cache={tmp_path}/cache",
        "pose=mini",
        "protocol.mse_p.extractor=mini",
        *beside,
    ]
    for options in (magicanimate_options, ["method=disco_ft", *disco_options, *short_fine_tune]):
        result = run(settings(tmp_path, *common, *options, benchmark="tiktok"))
        assert result["dataset"]["failed"] == {} and sorted(result["clips"]) == names
        [counts] = result["setup"]["sources"].values()
        assert list(counts.values()) == [len(names)]
    [table] = build_tables(load_results([tmp_path / "eval"]))
    published = [row.method for row in table.rows if row.published]
    measured = [row for row in table.rows if not row.published]
    assert {row.method for row in measured} == {"magicanimate", "disco-finetuned"} <= set(published)
    assert all(cell.difference is None for row in measured for cell in row.cells.values()), "stand-ins do not compare"
    assert {row.label for row in measured} == {"magicanimate, model=tiny", "disco-finetuned, stand-in weights"}
