import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from src.baselines.magicanimate.settings import SamplingSettings as MagicAnimateSampling
from src.bench import main
from src.benchmarking import other_systems
from src.benchmarking.count import DEVICES, _Kernels, count_evaluation
from src.common.trainer import TrainerSettings
from src.models.shipped import shipped_configs
from tests.conftest import TINY

TOY = ("model=tiny", "trainer=cpu", "data.resolution=64", "data.batch_frames=2")


def test_a_count_is_that_of_the_formulas():
    with FakeTensorMode(), torch.no_grad(), _Kernels() as kernels:
        nn.Linear(32, 64, bias=False)(torch.empty(10, 32))
    assert kernels.operations == 2 * 10 * 32 * 64
    with FakeTensorMode(), torch.no_grad():
        q = torch.empty(2, 3, 7, 16)
        with _Kernels() as kernels:
            nn.functional.scaled_dot_product_attention(q, q, q)
    assert kernels.operations == 4 * 2 * 3 * 7 * 7 * 16


def test_bytes_are_those_that_lie_in_memory():
    with FakeTensorMode(), torch.no_grad():
        x, mean = torch.empty(4, 6, 8), torch.empty(1, 6, 1)
        with _Kernels() as kernels:
            torch.empty_like(x)
            torch.ops.aten._unsafe_view(x, [24, 8])
            x - mean.expand_as(x)
    assert len(kernels.costs) == 1 and kernels.bytes == 4 * (2 * 4 * 6 * 8 + 6)


def test_operations_grow_with_frames_and_kernels_do_not():
    few, many = (count_evaluation(TINY, resolution=64, precision="32-true", num_frames=frames) for frames in (4, 8))
    assert few["kernels"] == many["kernels"] and 1.8 < many["tflop"] / few["tflop"] < 2.2
    assert few["gib"] < many["gib"] and set(few["seconds_at_least"]) == set(DEVICES)


@pytest.mark.parametrize("measured", ["true", "false"])
def test_the_command_prints_what_it_measured(call_main, capsys, tmp_path, measured):
    words = (*TOY, "num_target_frames=[2,3]", "counted=[2]", f"measured={measured}", "output=figures.json")
    assert call_main(main, *words) == (0, "")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [record["frames"] for record in figures["counted"]] == [3]
    assert ("training_step" in figures) == (measured == "true")
    if measured == "true":
        cases = [(record["frames"], record["approximated"]) for record in figures["sampling_step"]]
        assert cases == [(3, False), (3, True), (4, False), (4, True)]
        assert all(record["seconds_per_step"] > 0 for record in figures["sampling_step"])


def test_the_longest_kernels_are_named(call_main, tmp_path):
    assert call_main(main, *TOY, "counted=[]", "profile=true", "output=figures.json") == (0, "")
    figures = json.loads((tmp_path / "figures.json").read_text())
    for kernels in (figures["training_step"]["kernels"], *(case["kernels"] for case in figures["sampling_step"])):
        times = [kernel["milliseconds"] for kernel in kernels[:-1]]
        assert times == sorted(times, reverse=True) and times[-1] > 0 and kernels[-1]["kernel"] == "others"
        assert not any("Optimizer.step" in kernel["kernel"] for kernel in kernels)
        assert any("conv" in kernel["kernel"] for kernel in kernels) and all(kernel["calls"] for kernel in kernels)


def test_another_system_is_chosen_on_the_command_line(call_main):
    """`system=` was a group of `eval.run` as well, and Hydra then refused it here."""
    status, error = call_main(main, "system=disco", *TOY)
    assert (status, error) == (
        2,
        "error: model.configs=tiny has no image encoder, which DisCo needs: give model=sd15\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("system=magicanimate", "data.resolution=96"), "data.resolution=96 does not suit this model: use a multiple"),
        (("frame_chunks=[0]",), "frame_chunks=0 must be at least 1"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_one_line(call_main, words, message):
    status, error = call_main(main, *TOY, *words)
    assert status == 2 and error.startswith(f"error: {message}") and error.count("\n") == 1


def test_what_is_counted_is_what_is_sampled(call_main, capsys, tmp_path):
    """Without insertion there is no frame more, without guidance no second prompt."""
    found = {}
    for name, words in {"ours": (), "other": ("method=controlvideo", "sampling.guidance_scale=1")}.items():
        assert call_main(main, *TOY, "measured=false", "counted=[2]", f"output={name}.json", *words) == (0, "")
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())["counted"][0]
    assert found["ours"]["frames"] == 3 and found["other"]["frames"] == 2
    assert found["other"]["tflop"] == pytest.approx(found["ours"]["tflop"] / 3, rel=0.15)


def test_a_window_of_magicanimate_is_measured(monkeypatch):
    small = MagicAnimateSampling(window_frames=2, window_overlap=1)
    monkeypatch.setattr(other_systems, "MagicAnimateSampling", lambda **given: replace(small, **given))
    trainer = TrainerSettings(accelerator="cpu", precision="bf16-mixed")
    figures = other_systems.measure_magicanimate(shipped_configs("tiny"), trainer, torch.bfloat16, resolution=64)
    assert (figures["frames"], figures["resolution"]) == (2, 64)
    assert figures["dtype"] == "bfloat16" and figures["cpu_seconds"] > 0
    assert torch.get_default_dtype() == torch.float32
