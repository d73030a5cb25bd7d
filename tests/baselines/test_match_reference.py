"""Equality with the public code of MagicAnimate and DisCo on the same random weights, intermediates too."""

import json
import sys
from pathlib import Path

import pytest
import torch

from src.baselines.magicanimate.settings import NetworkSettings
from tests.baselines import magicanimate_reference
from tests.baselines.match_reference import Reference, differences, main

DATA = Path(__file__).resolve().parents[3] / "shared/data"
FILES = [DATA / f"{name}_reference.safetensors" for name in ("magicanimate", "disco")]


def present(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside this checkout")
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_output_matches_in_float64(monkeypatch, capsys, path):
    monkeypatch.setattr(sys, "argv", ["match_reference", str(present(path))])
    main()
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert len(printed.splitlines()) == 1 and {"noise_pred_guided", "sampled"} <= found.keys()
    assert all(value is not None and value <= 1e-5 for value in found.values()), found


def test_disco_matches_in_float32():
    found = differences(present(FILES[1]), torch.float32)
    assert max(found.values()) <= 1e-4, found


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"residual_norm": "frame"}, 0.3),
        ({"motion_norm": "window"}, 0.3),
        ({"reference_read_by": "both"}, 0.3),
        ({"bank_dtype": "float16"}, 1e-5),
    ],
    ids=lambda value: str(value),
)
@torch.no_grad()
def test_another_setting_is_another_model(settings, least):
    """The specification says how far off each habit's omission is."""
    reference = Reference(present(FILES[0]), torch.float32)
    model = magicanimate_reference.build(reference, NetworkSettings(**settings))
    job = magicanimate_reference.latent_job(reference)
    expected = reference.part("out.")
    window, timestep = slice(0, 16), int(reference.tensors["in.timestep"].flatten()[0])
    latents = job.latents[:, :, window]
    uncond, cond = model.predict_halves(
        latents,
        timestep,
        job.text_uncond,
        job.text_cond,
        bank=model.write_bank(job.reference_latents, timestep, job.text_cond),
        residuals=model.control(latents, timestep, job.conditions[:, window], job.text_cond),
    )
    off = [(got - expected[f"noise_pred_{half}"]).abs().max() for half, got in (("uncond", uncond), ("cond", cond))]
    assert max(off) > least
