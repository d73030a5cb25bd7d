import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from src.info import describe_model
from src.models.backbone import VideoBackbone
from src.models.loading import random_image_model
from src.models.settings import ModelSettings, build_backbone
from tests.conftest import TINY, perturbed

F = 5


def make_inputs(num_clips: int = 1, num_frames: int = F, seed: int = 0) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(num_clips, num_frames, 4, 8, 8, generator=generator)
    poses = torch.rand(num_clips, num_frames, 3, 64, 64, generator=generator)
    text = torch.randn(num_clips, 7, 32, generator=generator)
    return latents, 481, poses, text


def test_stable_diffusion_trains_the_number_of_parameters_in_the_paper():
    sd15 = ModelSettings(name="sd15", base="none", configs="sd15")
    description = describe_model(sd15, 512)
    assert description["trainable_parameters"] == 72_130_240
    assert round(description["trainable_parameters"] / 1024**2, 2) == 68.79
    assert description["latent_shape"] == [4, 64, 64]


@pytest.mark.parametrize("group_norm", ["clip", "frame"])
@torch.no_grad()
def test_one_frame_at_initialisation_is_the_image_model_to_the_bit(group_norm):
    image = random_image_model("tiny", base="tiny", seed=0)
    latents, t, poses, text = make_inputs(num_frames=1)
    down, mid = image.controlnet(latents[0], t, text, poses[0], return_dict=False)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    expected = image.unet(latents[0], t, text, **residuals, return_dict=False)[0]
    backbone = VideoBackbone(image.unet, image.controlnet, group_norm=group_norm).eval()
    assert torch.equal(backbone(latents, t, poses, text)[0], expected)


@pytest.mark.parametrize("group_norm", ["clip", "frame"])
@pytest.mark.parametrize("frame_chunk", [1, 2, 4, 7])
@torch.no_grad()
def test_chunks_do_not_change_the_result(group_norm, frame_chunk, tiny):
    settings = ModelSettings(**{**vars(TINY), "group_norm": group_norm})
    backbone = perturbed(build_backbone(tiny, settings))
    inputs = make_inputs()
    whole = backbone(*inputs)
    with backbone.chunked(frame_chunk):
        torch.testing.assert_close(backbone(*inputs), whole, rtol=0, atol=2e-5)


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(backbone):
    latents, t, poses, text = make_inputs(num_clips=2)
    together = backbone(latents, t, poses, text)
    for clip in range(2):
        one = slice(clip, clip + 1)
        torch.testing.assert_close(together[one], backbone(latents[one], t, poses[one], text[one]), rtol=0, atol=2e-5)


@torch.no_grad()
def test_without_temporal_attention_frames_see_the_key_frame_alone(tiny):
    """Eq. 1; with norms over single frames key-frame attention is the only way between frames."""
    backbone = VideoBackbone(tiny.unet, tiny.controlnet, group_norm="frame").eval()
    latents, t, poses, text = make_inputs()
    before = backbone(latents, t, poses, text)
    for changed in (0, 2):
        other = latents.clone()
        other[:, changed] += 1
        moved = (backbone(other, t, poses, text) - before).abs().amax((0, 2, 3, 4)) > 1e-6
        expected = [changed in (0, frame) for frame in range(F)]
        assert moved.tolist() == expected


@torch.no_grad()
def test_temporal_attention_has_no_order(backbone):
    """Eq. 2 has no positional encoding: permuting the frames behind the key frame permutes the result."""
    latents, t, poses, text = make_inputs()
    order = [0, 3, 1, 4, 2]
    permuted = backbone(latents[:, order], t, poses[:, order], text)
    torch.testing.assert_close(permuted, backbone(latents, t, poses, text)[:, order], rtol=0, atol=2e-5)


@torch.no_grad()
def test_identical_frames_are_predicted_as_one(backbone):
    latents, t, poses, text = make_inputs(num_frames=1)
    repeated = backbone(latents.expand(-1, F, -1, -1, -1), t, poses.expand(-1, F, -1, -1, -1), text)
    one = backbone(latents, t, poses, text)
    torch.testing.assert_close(repeated, one.expand_as(repeated), rtol=0, atol=2e-5)


def test_gradients_reach_what_the_method_trains_and_nothing_else(backbone):
    backbone(*make_inputs()).square().mean().backward()
    trained = backbone.trainable_state()
    assert trained and all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    assert all(p.grad is None for name, p in backbone.named_parameters() if name not in trained)
    temporal = [name for name in trained if ".temporal." in name]
    assert temporal and not [name for name in temporal if "mid_block" in name or "controlnet" in name]


def test_gradient_checkpointing_changes_no_gradient(backbone):
    def gradients() -> list[torch.Tensor]:
        backbone.zero_grad()
        backbone.train()(*make_inputs()).square().mean().backward()
        return [p.grad.clone() for p in backbone.trainable_state().values()]

    plain = gradients()
    backbone.unet.enable_gradient_checkpointing()
    backbone.controlnet.enable_gradient_checkpointing()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_reused_outputs_never_go_stale(backbone, tiny):
    latents, t, poses, text = make_inputs()
    fresh = perturbed(build_backbone(random_image_model("tiny", base="tiny", seed=0), TINY))
    for change in range(3):
        torch.testing.assert_close(backbone(latents, t, poses, text), fresh(latents, t, poses, text))
        fresh.clear_reused()
        text = text + 1 if change == 0 else text
        poses[:, 1].mul_(0.5)  # in place: the tensor stays the same object


@torch.no_grad()
def test_constant_inputs_are_embedded_once(backbone, monkeypatch):
    embedding = backbone.controlnet.controlnet_cond_embedding
    calls = []
    embedding.conv_in.register_forward_hook(lambda *_: calls.append(1))
    inputs = make_inputs()
    for t in (900, 500, 100):
        backbone(inputs[0], t, *inputs[2:])
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_frozen_weights_in_half_precision_train_under_autocast(dtype, tiny):
    backbone = build_backbone(tiny, ModelSettings(**{**vars(TINY), "dtype": dtype}))
    assert all(p.dtype == torch.float32 for p in backbone.trainable_state().values())
    assert backbone.unet.conv_in.weight.dtype == getattr(torch, dtype)
    with torch.autocast("cpu", getattr(torch, dtype)):
        noise = backbone(*make_inputs())
    noise.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in backbone.trainable_state().values() if p.grad is not None)


def test_inputs_that_disagree_are_refused(backbone):
    latents, t, poses, text = make_inputs()
    with pytest.raises(ValueError, match="must agree"):
        backbone(latents, t, poses[:, :3], text)
    with pytest.raises(ValueError, match="group_norm must be one of"):
        VideoBackbone(UNet2DConditionModel, ControlNetModel, group_norm="video")
