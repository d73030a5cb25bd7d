"""Equality with the public ControlVideo model on the same random weights."""

from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file

from src.models.adapter import load_controlvideo_state_dict
from src.models.backbone import VideoBackbone
from src.sampling.ddim import ddim_invert, ddim_sample
from src.sampling.noise_predictor import NoisePredictor
from tests.models.controlvideo_names import controlvideo_state_dict

REFERENCE = Path(__file__).resolve().parents[3] / "shared/data/controlvideo_reference.safetensors"
pytestmark = pytest.mark.skipif(not REFERENCE.is_file(), reason=f"{REFERENCE.name} is not beside this checkout")
TOLERANCE = {"rtol": 0, "atol": 1e-4}
GUIDANCE_SCALE = 4.0
NUM_STEPS = 10


def build_backbone(group_norm: str = "clip") -> VideoBackbone:
    config = {
        "block_out_channels": (32, 32, 64, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 32,
    }
    controlnet = ControlNetModel(**config, conditioning_embedding_out_channels=(8, 8, 16, 16))
    return VideoBackbone(UNet2DConditionModel(**config), controlnet, group_norm=group_norm).eval()


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return load_file(REFERENCE)


def part(tensors: dict, prefix: str) -> dict:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def backbone(tensors) -> VideoBackbone:
    model = build_backbone()
    load_controlvideo_state_dict(model, part(tensors, "unet."), part(tensors, "controlnet."))
    return model


@pytest.fixture(scope="module")
def inputs(tensors) -> dict:
    """Inputs in our layout (B, F, C, H, W); the file's is (B, C, F, H, W)."""
    return {
        "latents": tensors["in.latents"].transpose(1, 2),
        "poses": tensors["in.cond"].transpose(1, 2),
        "uncond": tensors["in.text_uncond_cond"][:1],
        "cond": tensors["in.text_uncond_cond"][1:],
        "timestep": int(tensors["in.timestep"]),
    }


def predictor(backbone, inputs, scale, frame_chunk=None):
    return NoisePredictor(
        backbone,
        backbone.embed_poses(inputs["poses"][0])[None],
        inputs["cond"],
        unconditional_1TE=inputs["uncond"] if scale != 1 else None,
        guidance_scale=scale,
        frame_chunk=frame_chunk,
    )


@pytest.mark.parametrize("chunks", [{}, {"frame_chunk": 1}, {"frame_chunk": 3}, {"tile_elements": 20_000}])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_noise_prediction(backbone, tensors, inputs, chunks, memory_format):
    try:
        with backbone.to(memory_format=memory_format).chunked(**chunks):
            noise = backbone(inputs["latents"], inputs["timestep"], backbone.prepare(inputs["poses"], inputs["cond"]))
    finally:
        backbone.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(noise.transpose(1, 2), tensors["out.noise_pred"], **TOLERANCE)


@torch.no_grad()
def test_group_norm_over_single_frames_is_another_model(tensors, inputs):
    model = build_backbone("frame")
    load_controlvideo_state_dict(model, part(tensors, "unet."), part(tensors, "controlnet."))
    noise = model(inputs["latents"], inputs["timestep"], model.prepare(inputs["poses"], inputs["cond"]))
    assert (noise.transpose(1, 2) - tensors["out.noise_pred"]).abs().max() > 0.1


@torch.no_grad()
def test_inversion_of_the_clip(backbone, tensors, inputs, scheduler):
    trajectory = ddim_invert(inputs["latents"], predictor(backbone, inputs, 1), scheduler, NUM_STEPS)
    torch.testing.assert_close(trajectory[-1].transpose(1, 2), tensors["out.inverted"], **TOLERANCE)


@pytest.mark.parametrize("frame_chunk", [None, "auto", 3])
@torch.no_grad()
def test_guided_sampling(backbone, tensors, inputs, scheduler, frame_chunk):
    latents = tensors["out.inverted"].transpose(1, 2)
    sampled = ddim_sample(latents, predictor(backbone, inputs, GUIDANCE_SCALE, frame_chunk), scheduler, NUM_STEPS)
    torch.testing.assert_close(sampled.transpose(1, 2), tensors["out.sampled"], **TOLERANCE)


def test_names_round_trip(backbone, tensors):
    unet_state, controlnet_state = controlvideo_state_dict(backbone)
    for ours, prefix in ((unet_state, "unet."), (controlnet_state, "controlnet.")):
        public = part(tensors, prefix)
        assert ours.keys() == public.keys()
        assert all(torch.equal(ours[name], public[name]) for name in public)
