import json

from src.info import main


def test_one_command_says_what_is_ready(call_main, capsys, monkeypatch):
    """JSON on standard output for a report, the same for people on standard error."""
    written = []
    monkeypatch.setattr("sys.stdout.write", written.append)
    status, readable = call_main(main, "model=tiny", "check=true")
    assert status == 0
    check = json.loads("".join(written))["check"]
    assert check["problems"] == [] and check["weights"]["fits"] and check["memory_gib"]["training"] > 0
    assert list(check["settings_that_fit"]) == ["6 GB", "8 GB", "12 GB", "24 GB"]
    assert {"torch", "diffusers"} < check["versions"].keys() and check["codecs"]["write"]["libx264"]
    assert "nothing is wrong" in readable and "fits 6 GB" in readable


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
    assert (
        "PROBLEM: model.base=no-one/has-this: all of it missing; huggingface-cli download no-one/has-this" in readable
    )
