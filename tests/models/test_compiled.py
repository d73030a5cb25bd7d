"""`model.compile` with Inductor on the CPU."""

import copy
import functools
from dataclasses import replace
from typing import cast

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

import src.models.compiled
from src.common.errors import UserError
from src.models.backbone import VideoBackbone
from src.models.build import build_backbone
from src.models.compiled import CompiledForwards, can_compile
from src.models.shipped import shipped_configs
from src.training.checkpointing import kept_bytes
from tests.conftest import TINY, perturbed

pytestmark = pytest.mark.skipif(not can_compile(), reason="this torch is too old for model.compile")
F, CHUNK = 5, 4
# The toy model's first level alone: compiling a layer of each size takes seconds.
ONE_LEVEL = {"block_out_channels": [32], "down_block_types": ["CrossAttnDownBlock2D"]}


def build(*, sampling: bool = False, training: bool = False) -> VideoBackbone:
    folder, networks = shipped_configs("tiny"), []
    torch.manual_seed(0)
    for cls, name, more in (
        (UNet2DConditionModel, "unet", {"up_block_types": ["CrossAttnUpBlock2D"]}),
        (ControlNetModel, "controlnet", {}),
    ):
        networks.append(cls.from_config({**cls.load_config(folder / name), **ONE_LEVEL, **more}))
    return perturbed(VideoBackbone(*networks, compiled=CompiledForwards.build(sampling=sampling, training=training)))


@pytest.fixture
def pair() -> tuple[VideoBackbone, VideoBackbone]:
    """The same weights without and with."""
    return build(), build(sampling=True)


@pytest.fixture
def inductor(tmp_path, monkeypatch):
    """Nothing compiled before is known; one process compiles, so that its cost is the test's own."""
    torch.compiler.reset()
    monkeypatch.setattr(src.models.compiled, "_BY_KIND", {})
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with torch._inductor.config.patch(compile_threads=1):
        yield
    torch.compiler.reset()


def predict(backbone: VideoBackbone, *, num_frames: int = F, timestep: int = 481, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, num_frames, 4, 4, 4, generator=generator)
    poses = torch.rand(1, num_frames, 3, 32, 32, generator=generator)
    text = torch.randn(1, 7, 32, generator=generator)
    # Training has no chunks: gradient checkpointing runs a layer again when their block has ended.
    with backbone.chunked(None if torch.is_grad_enabled() else CHUNK):
        return backbone(latents, timestep, backbone.prepare(poses, text))


@torch.no_grad()
def test_layers_are_compiled_once_for_all_frames_prompts_and_steps(pair, inductor):
    """Of 5, 8 and 13 frames in chunks of 4, the last of 13 would be a single frame, and compiled anew."""
    plain, compiled = pair

    def check(**case: int) -> None:
        torch.testing.assert_close(predict(compiled, **case), predict(plain, **case), rtol=0, atol=1e-5)

    check()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs >= 4
    with torch._dynamo.config.patch(error_on_recompile=True):
        for case in ({"timestep": 1}, {"num_frames": 8}, {"num_frames": 13, "seed": 1}, {"seed": 2}):
            check(**case)
        # One frame, as an inversion has, is not worth compiling.
        assert torch.equal(predict(compiled, num_frames=1), predict(plain, num_frames=1))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def gradients(backbone: VideoBackbone, **case: int) -> dict[str, torch.Tensor]:
    backbone.zero_grad()
    predict(backbone.train(), **case).square().mean().backward()
    return {name: cast(torch.Tensor, parameter.grad) for name, parameter in backbone.trainable_state().items()}


def test_training_and_names_are_as_without(pair):
    plain, compiled = pair
    assert list(plain.state_dict()) == list(compiled.state_dict())
    expected = gradients(plain)
    for name, found in gradients(compiled).items():
        assert torch.equal(found, expected[name]), name


def test_the_settings_say_what_is_compiled(tiny):
    for settings in (TINY, replace(TINY, compile=True), replace(TINY, compile_training=True)):
        compiled = build_backbone(copy.deepcopy(tiny), settings).compiled
        found = (False, False) if compiled is None else (compiled.sampling, compiled.training)
        assert found == (settings.compile, settings.compile_training)


# The one warning of PyTorch that commands leave out (`src/app/entry.py`): it looks at what earlier layers made.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_training_is_compiled_once_for_all_steps_and_sampling_is_not(monkeypatch):
    """Traced forwards and backwards; Inductor's kernels of them are left to `tests.models.measure_compile`."""
    torch.compiler.reset()
    monkeypatch.setattr(src.models.compiled, "_BY_KIND", {})
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    plain, compiled, another = build(), build(training=True), build(training=True)
    for backbone in (plain, compiled, another):
        for network in (backbone.unet, backbone.controlnet):
            cast(torch.nn.Module, network).to(memory_format=torch.channels_last)
            network.enable_gradient_checkpointing()

    def check(**case: int) -> None:
        expected, found = gradients(plain, **case), gradients(compiled, **case)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()) + 1e-9)

    check()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs >= 4
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(timestep=1, seed=1)
        with torch.no_grad():
            assert torch.equal(predict(compiled), predict(plain))
        # What a step keeps is counted with other numbers of frames, for which nothing is compiled.
        latents, same = torch.randn(3, 4, 4, 4), torch.zeros(3, dtype=torch.long)
        conditioning = compiled.prepare(torch.rand(1, 3, 3, 32, 32), torch.randn(1, 7, 32)).frames(same)
        assert kept_bytes(compiled, conditioning, latents, 3) > 0
        # Another person's backbone: PyTorch counts all of a process against one limit.
        gradients(another)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


@torch.no_grad()
def test_where_there_is_no_compiler_it_says_so(inductor):
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(UserError, match="g\\+\\+"):
        predict(build(sampling=True))
