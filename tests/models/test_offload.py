import numpy as np
import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from src import train
from src.models import chunking, offload
from src.models.backbone import VideoBackbone
from src.models.offload import most_resident, num_bytes, offloaded
from src.sampling.generate import generate
from src.sampling.noise_predictor import NoisePredictor, embed_pose_sequence
from src.sampling.settings import ApproximationSettings
from tests.conftest import CPU

GPU = torch.device("cuda", 0)


def replace_weights(module: nn.Module, change) -> None:
    for name, weight in module._parameters.items():
        if weight is not None:
            module._parameters[name] = nn.Parameter(change(weight.detach()), requires_grad=False)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else change(buffer)


def replace_all(network: nn.Module, change) -> nn.Module:
    """As `nn.Module._apply`, which cannot give tensors without content another device."""
    for module in network.modules():
        replace_weights(module, change)
    return network


@pytest.fixture
def a_gpu(monkeypatch):
    """Tensors without content know devices, refuse to be mixed across them, and need none: a GPU of 100 KB."""
    resident: dict[nn.Module, int] = {}
    seen: list[int] = []

    def move(group: ModuleGroup, device: torch.device) -> None:
        for module in group.modules:
            module.to(device)
        if not group.modules:
            replace_weights(group.offload_leader, lambda weight: weight.to(device))
        here = [group.offload_leader] if not group.modules else group.modules
        resident[group.offload_leader] = 0 if device.type == "cpu" else sum(map(num_bytes, here))
        seen.append(sum(resident.values()))

    monkeypatch.setattr(ModuleGroup, "onload_", lambda group: move(group, group.onload_device))
    monkeypatch.setattr(ModuleGroup, "offload_", lambda group: move(group, group.offload_device))
    monkeypatch.setattr(nn.Module, "_apply", replace_all)
    for module in (offload, chunking):
        monkeypatch.setattr(module, "free_bytes", lambda device: 10**5 if device.type == "cuda" else 10**9)
    return seen


def test_every_weight_is_on_the_gpu_when_it_is_used_and_no_more_than_a_block(tiny, people_clip, a_gpu):
    networks = (tiny.unet, tiny.controlnet, tiny.vae, tiny.text_encoder)
    frames, poses = people_clip
    with FakeTensorMode(allow_non_fake_inputs=True):
        for network in networks:
            replace_all(network, lambda weight: torch.empty(weight.shape, dtype=weight.dtype))
        backbone = VideoBackbone(tiny.unet, tiny.controlnet).eval()
        with pytest.raises(RuntimeError, match="same device"):
            tiny.vae.decode(torch.empty(1, 4, 8, 8, device=GPU))  # what stays on the CPU is noticed
        tiny.offload = "auto"
        with offloaded(tiny, GPU) as waiting:
            assert waiting
            predictor = NoisePredictor(
                backbone,
                embed_pose_sequence(backbone, poses[:3], (64, 64)),
                tiny.encode_prompt("a person"),
                unconditional_1TE=tiny.encode_prompt(""),
                guidance_scale=2.0,
                frame_chunk="auto",
                approximation=ApproximationSettings(features_every=2),
            )
            latents_1FChw = tiny.encode_frames(frames[:3])[None]
            for timestep in (2, 1):
                latents_1FChw = predictor(latents_1FChw, timestep)
            assert latents_1FChw.device == tiny.vae.decode(latents_1FChw[0, :1])[0].device == GPU
        whole = sum(map(num_bytes, (tiny.unet, tiny.controlnet)))
        embedding = num_bytes(tiny.controlnet.controlnet_cond_embedding)
        assert 0 < max(a_gpu) <= most_resident([tiny.unet, tiny.controlnet]) + embedding < whole
        assert {p.device.type for network in networks for p in network.parameters()} == {"cpu"}


def test_weights_that_wait_make_the_same_video_and_stay_where_they_were(tiny, backbone, job, monkeypatch):
    at_once = generate(job, tiny, backbone, CPU).frames
    moves: list[ModuleGroup] = []
    monkeypatch.setattr(ModuleGroup, "onload_", lambda group: moves.append(group))
    tiny.offload = "auto"
    assert np.array_equal(generate(job, tiny, backbone, CPU).frames, at_once)
    assert not moves, "a CPU has nothing to keep free"
    monkeypatch.setattr(offload, "_wanted", lambda image_model, device: True)
    assert np.array_equal(generate(job, tiny, backbone, CPU).frames, at_once)
    evaluations = 2 * job.sampling.num_steps
    assert len(moves) > evaluations * len(tiny.unet.up_blocks)
    moves.clear()
    monkeypatch.undo()
    assert np.array_equal(generate(job, tiny, backbone, CPU).frames, at_once)
    assert not moves


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "model.offload=true keeps memory of a GPU's own free, and this runs on cpu"),
        (["model.compile=true"], "choose one"),
    ],
)
def test_offload_that_would_do_nothing_is_refused_before_anything_is_learnt(call_main, tmp_path, more, said):
    overrides = ["subject=people_001", "model=tiny", "trainer.accelerator=cpu", "model.offload=true", *more]
    status, error = call_main(train.main, *overrides, f"run_dir={tmp_path / 'run'}")
    assert status == 2 and said in error
    assert not (tmp_path / "run").exists()
