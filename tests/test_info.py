import json

import pytest

from src.common.system import quick_precision
from src.info import main
from tests.models.test_loading import edit_config, save_folder
from tests.models.test_memory import SD15_LIKE


@pytest.fixture
def counted(monkeypatch) -> None:
    """A count of memory takes ten seconds: the tests that ask for something else have one."""
    monkeypatch.setattr("src.runs.doctor.count_memory", lambda *given, **settings: SD15_LIKE)


def test_what_other_commands_are_given_is_not_proposed_for_itself(call_main):
    status, stderr = call_main(main, "model=tiny", "fine_tune_cache=elsewhere")
    assert (status, stderr) == (2, "error: fine_tune_cache is unknown: --help lists the settings\n")


def test_one_command_says_what_is_ready(call_main, capsys, monkeypatch):
    """JSON on standard output for a report, the same for people on standard error."""
    written = []
    monkeypatch.setattr("sys.stdout.write", written.append)
    status, readable = call_main(main, "model=tiny", "pose=mini", "check=true")
    assert status == 0
    check = json.loads("".join(written))["check"]
    assert check["problems"] == [] and check["weights"]["fits"] and check["memory_gib"]["training"] > 0
    assert list(check["settings_that_fit"]) == ["6 GB", "8 GB", "12 GB", "24 GB"]
    assert {"torch", "diffusers"} < check["versions"].keys() and check["codecs"]["write"]["libx264"]
    assert [file["missing"] for file in check["poses"]["files"]] == [False] and "pose.kind: mini: there" in readable
    assert "nothing is wrong" in readable and "fits 6 GB" in readable


@pytest.mark.usefixtures("counted")
def test_weights_that_are_not_here_are_a_problem_that_says_the_command(call_main, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    status, readable = call_main(
        main,
        "model=tiny",
        "model.random_seed=null",
        "model.base=no-one/has-this",
        "trainer.accelerator=cpu",
        "check=true",
    )
    assert status == 0
    assert "PROBLEM: model.base=no-one/has-this: all of it missing; hf download no-one/has-this" in readable


@pytest.mark.usefixtures("counted")
def test_a_resolution_that_training_refuses_is_a_problem(call_main):
    readable = call_main(main, "model=tiny", "pose=mini", "data.resolution=100", "check=true")[1]
    assert "PROBLEM: data.resolution=100 does not suit this model: use a multiple of " in readable


@pytest.mark.parametrize("there", [True, False])
def test_parts_that_do_not_fit_are_a_problem_in_one_line(there, request, call_main, tiny, tmp_path):
    """An inpainting model, with all of its weights and without some."""
    if not there:
        request.getfixturevalue("counted")
    folder = save_folder(tiny, tmp_path / "base")
    edit_config(folder, "unet", in_channels=9)
    if not there:
        next((folder / "unet").glob("*.safetensors")).unlink()
    # Of one precision a single count serves this machine and cards.
    given = ("model=tiny", "model.random_seed=null", f"trainer.precision={quick_precision('gpu')}", "pose=mini")
    status, readable = call_main(main, *given, f"model.base={folder}", "check=true")
    assert status == 0 and "fits 6 GB" in readable
    assert ("an inpainting model (9 input channels), expected the 4" if there else "PROBLEM: model.base=") in readable


@pytest.mark.usefixtures("counted")
def test_whether_the_weights_of_poses_are_there_is_said(call_main, tmp_path, monkeypatch):
    """Of an address what the library has kept of it, the archive or the model; nothing is downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    address = "https://example.invalid/models/{}.zip"
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/person-1a.onnx").touch()
    pose = (f"pose.detector={address.format('person-1a')}", f"pose.estimator={address.format('body-2b')}")
    status, readable = call_main(main, "model=tiny", "trainer.accelerator=cpu", *pose, "check=true")
    assert status == 0
    assert f"pose.detector: {address.format('person-1a')}: there" in readable
    assert f"PROBLEM: pose.estimator={address.format('body-2b')}: not there; downloaded on first use" in readable
    status, readable = call_main(main, "model=tiny", "pose.detector=gone.onnx", "check=true")
    assert "PROBLEM: pose.detector=gone.onnx: not there; give the path of an .onnx file" in readable


@pytest.mark.usefixtures("counted")
def test_the_body_model_of_mediapipe_is_looked_for(call_main, monkeypatch):
    pytest.importorskip("mediapipe")
    assert "pose.model_complexity: 1: there" in call_main(main, "model=tiny", "pose=mediapipe", "check=true")[1]
    monkeypatch.setattr("src.pose.extractors.checkup._package", lambda: None)
    readable = call_main(main, "model=tiny", "pose=mediapipe", "check=true")[1]
    assert "PROBLEM: pose.kind=mediapipe: not there; pip install '.[mediapipe]'" in readable
