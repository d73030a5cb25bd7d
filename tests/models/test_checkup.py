import json

import pytest

from src.models.checkup import check_weights
from src.models.settings import ModelSettings
from tests.models.test_loading import edit_config, save_folder


def settings(base, **more):
    return ModelSettings(name="own", base=str(base), configs="tiny", **more)


def test_a_whole_folder_is_there_and_fits(tiny, tmp_path):
    report = check_weights(settings(save_folder(tiny, tmp_path)))
    assert report["fits"] is True and report["problems"] == []
    assert report["files"][0]["found"] == str(tmp_path) and report["files"][0]["missing"] == []


def test_what_a_folder_lacks_is_listed(tiny, tmp_path):
    folder = save_folder(tiny, tmp_path)
    (folder / "tokenizer/tokenizer_config.json").unlink()  # not needed
    for name in ("scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.safetensors"):
        (folder / name).unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "text_encoder/model.safetensors").rename(folder / "text_encoder/model-00001-of-00002.safetensors")
    (folder / "text_encoder/model.safetensors.index.json").write_text(json.dumps(index))
    report = check_weights(settings(folder))
    assert report["fits"] is None
    expected = ["unet/weights (.safetensors)", "text_encoder/model-00002-of-00002.safetensors"]
    assert [m for m in report["files"][0]["missing"] if m.startswith(("unet", "text"))] == expected
    assert "scheduler/scheduler_config.json" in report["files"][0]["missing"]
    assert "complete the folder" in report["problems"][0]


def test_hub_ids_that_were_never_downloaded_say_how(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    report = check_weights(settings("no-one/has-this", controlnet="nor/this", vae="./gone/vae"))
    assert [file["get"] for file in report["files"]] == [
        "hf download no-one/has-this",
        "hf download nor/this",
        "give the path of a folder that is there",
    ]
    assert len(report["problems"]) == 3 and report["fits"] is None


@pytest.mark.parametrize(
    ("part", "values", "line"),
    [
        ("unet", {"in_channels": 9}, "inpainting model"),
        ("controlnet", {"cross_attention_dim": 2048}, "is a ControlNet for Stable Diffusion XL"),
    ],
)
def test_what_does_not_fit_is_said(part, values, line, tiny, tmp_path):
    folder = save_folder(tiny, tmp_path)
    edit_config(folder, part, **values)
    report = check_weights(settings(folder))
    assert report["fits"] is False and line in report["problems"][0]


def test_files_that_are_gone_or_damaged(tiny, tmp_path):
    folder = save_folder(tiny, tmp_path)
    (tmp_path / "vae.safetensors").write_bytes(b"nonsense")
    report = check_weights(settings(folder, vae=str(tmp_path / "vae.safetensors"), embeddings=["gone.pt"]))
    [damaged, gone] = report["problems"]
    assert "a readable file" in damaged and "download it again" in damaged
    assert gone.startswith("model.embeddings=gone.pt: gone.pt missing")
