import copy
import itertools

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from src.models.backbone import VideoBackbone
from src.models.build import build_backbone
from src.models.describe import describe_model
from src.models.loading import random_image_model
from src.models.settings import ModelSettings
from tests.conftest import TINY, perturbed, run_settings

F = 5


def make_inputs(num_clips: int = 1, num_frames: int = F, seed: int = 0) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(num_clips, num_frames, 4, 8, 8, generator=generator)
    poses = torch.rand(num_clips, num_frames, 3, 64, 64, generator=generator)
    text = torch.randn(num_clips, 7, 32, generator=generator)
    return latents, 481, poses, text


def predict(backbone: VideoBackbone, latents, t, poses, *texts) -> torch.Tensor:
    return backbone(latents, t, backbone.prepare(poses, *texts))


def test_stable_diffusion_trains_the_number_of_parameters_in_the_paper():
    sd15 = ModelSettings(name="sd15", base="none", configs="sd15")
    description = describe_model(sd15, 512)
    assert description["trainable_parameters"] == 72_130_240
    assert round(description["trainable_parameters"] / 1024**2, 2) == 68.79
    assert description["latent_shape"] == [4, 64, 64]


@pytest.mark.parametrize(("group_norm", "order"), [("clip", "rgb"), ("frame", "rgb"), ("clip", "bgr")])
@torch.no_grad()
def test_one_frame_at_initialisation_is_the_image_model_to_the_bit(group_norm, order):
    image = random_image_model("tiny", base="tiny", seed=0)
    image.controlnet.register_to_config(controlnet_conditioning_channel_order=order)
    latents, t, poses, text = make_inputs(num_frames=1)
    down, mid = image.controlnet(latents[0], t, text, poses[0], return_dict=False)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    expected = image.unet(latents[0], t, text, **residuals, return_dict=False)[0]
    backbone = VideoBackbone(image.unet, image.controlnet, group_norm=group_norm).eval()
    assert torch.equal(predict(backbone, latents, t, poses, text)[0], expected)


@pytest.mark.parametrize("group_norm", ["clip", "frame"])
@pytest.mark.parametrize("frame_chunk", [1, 2, 4, 7])
@torch.no_grad()
def test_chunks_do_not_change_the_result(group_norm, frame_chunk, tiny):
    settings = ModelSettings(**{**vars(TINY), "group_norm": group_norm})
    backbone = perturbed(build_backbone(tiny, settings))
    inputs = make_inputs()
    whole = predict(backbone, *inputs)
    with backbone.chunked(frame_chunk):
        torch.testing.assert_close(predict(backbone, *inputs), whole, rtol=0, atol=2e-5)


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(backbone):
    latents, t, poses, text = make_inputs(num_clips=2)
    together = predict(backbone, latents, t, poses, text)
    for clip in range(2):
        one = slice(clip, clip + 1)
        torch.testing.assert_close(
            together[one], predict(backbone, latents[one], t, poses[one], text[one]), rtol=0, atol=2e-5
        )


@torch.no_grad()
def test_without_temporal_attention_frames_see_the_key_frame_alone(tiny):
    """Eq. 1; with norms over single frames key-frame attention is the only way between frames."""
    backbone = VideoBackbone(tiny.unet, tiny.controlnet, group_norm="frame").eval()
    latents, t, poses, text = make_inputs()
    before = predict(backbone, latents, t, poses, text)
    for changed in (0, 2):
        other = latents.clone()
        other[:, changed] += 1
        moved = (predict(backbone, other, t, poses, text) - before).abs().amax((0, 2, 3, 4)) > 1e-6
        expected = [changed in (0, frame) for frame in range(F)]
        assert moved.tolist() == expected


@torch.no_grad()
def test_temporal_attention_has_no_order(backbone):
    """Eq. 2 has no positional encoding: permuting the frames behind the key frame permutes the result."""
    latents, t, poses, text = make_inputs()
    order = [0, 3, 1, 4, 2]
    permuted = predict(backbone, latents[:, order], t, poses[:, order], text)
    torch.testing.assert_close(permuted, predict(backbone, latents, t, poses, text)[:, order], rtol=0, atol=2e-5)


@torch.no_grad()
def test_identical_frames_are_predicted_as_one(backbone):
    latents, t, poses, text = make_inputs(num_frames=1)
    repeated = predict(backbone, latents.expand(-1, F, -1, -1, -1), t, poses.expand(-1, F, -1, -1, -1), text)
    one = predict(backbone, latents, t, poses, text)
    torch.testing.assert_close(repeated, one.expand_as(repeated), rtol=0, atol=2e-5)


def test_gradients_reach_what_the_method_trains_and_nothing_else(backbone):
    predict(backbone, *make_inputs()).square().mean().backward()
    trained = backbone.trainable_state()
    assert trained and all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    assert all(p.grad is None for name, p in backbone.named_parameters() if name not in trained)
    temporal = [name for name in trained if ".temporal." in name]
    assert temporal and not [name for name in temporal if "mid_block" in name or "controlnet" in name]


def test_gradient_checkpointing_changes_no_gradient(backbone):
    def gradients() -> list[torch.Tensor]:
        backbone.zero_grad()
        predict(backbone.train(), *make_inputs()).square().mean().backward()
        return [p.grad.clone() for p in backbone.trainable_state().values()]

    plain = gradients()
    backbone.unet.enable_gradient_checkpointing()
    backbone.controlnet.enable_gradient_checkpointing()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_prompts_evaluated_together_give_the_noise_of_each(backbone):
    latents, t, poses, text = make_inputs()
    other = text.flip(1)
    together = predict(backbone, latents, t, poses, text, other)
    for prompt, noise in ((text, together[:1]), (other, together[1:])):
        torch.testing.assert_close(noise, predict(backbone, latents, t, poses, prompt), rtol=0, atol=2e-6)


@torch.no_grad()
def test_each_clip_has_its_timestep_under_each_prompt(backbone):
    latents, _, poses, text = make_inputs(num_clips=2)
    timesteps, other = torch.tensor([900, 100]), text.flip(1)
    together = predict(backbone, latents, timesteps, poses, text, other)
    for noise, (prompt, clip) in zip(together, itertools.product((text, other), (slice(1), slice(1, 2))), strict=True):
        alone = predict(backbone, latents[clip], timesteps[clip], poses[clip], prompt[clip])
        torch.testing.assert_close(noise[None], alone, rtol=0, atol=2e-5)


@torch.no_grad()
def test_what_precedes_the_text_is_computed_for_one_prompt(backbone):
    rows = {}
    for network in (backbone.unet, backbone.controlnet):
        resnets = network.down_blocks[0].resnets[0], network.mid_block.resnets[0]
        for name, resnet in zip(("first", "middle"), resnets, strict=True):
            resnet.conv1.register_forward_pre_hook(lambda _, args, name=name: rows.update({name: len(args[0])}))
        predict(backbone, *make_inputs(), make_inputs()[-1])
        assert rows == {"first": F, "middle": 2 * F}


@torch.no_grad()
def test_some_frames_and_one_prompt_of_what_was_prepared(backbone):
    latents, t, poses, text = make_inputs()
    prepared = backbone.prepare(poses, text.flip(1), text)
    expected = predict(backbone, latents[:, 1:3], t, poses[:, 1:3], text)
    assert torch.equal(backbone(latents[:, 1:3], t, prepared.frames(slice(1, 3)).prompt(1)), expected)


@torch.no_grad()
def test_pose_images_may_be_bytes(backbone):
    latents, t, poses, text = make_inputs()
    in_bytes = (poses * 255).round().byte()
    torch.testing.assert_close(
        predict(backbone, latents, t, in_bytes, text), predict(backbone, latents, t, in_bytes / 255, text)
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_frozen_weights_in_half_precision_train_under_autocast(dtype, tiny):
    backbone = build_backbone(tiny, ModelSettings(**{**vars(TINY), "dtype": dtype}))
    assert all(p.dtype == torch.float32 for p in backbone.trainable_state().values())
    assert backbone.unet.conv_in.weight.dtype == getattr(torch, dtype)
    with torch.autocast("cpu", getattr(torch, dtype)):
        noise = predict(backbone, *make_inputs())
    noise.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in backbone.trainable_state().values() if p.grad is not None)


def test_weights_kept_in_the_format_of_the_operations_change_no_bit(tiny):
    """`model.dtype=auto` of a mixed precision: autocast would cast them in every evaluation to the same numbers."""
    noise = []
    for dtype in ("float32", "bfloat16"):
        backbone = build_backbone(copy.deepcopy(tiny), ModelSettings(**{**vars(TINY), "dtype": dtype}))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            noise.append(predict(backbone, *make_inputs()))
    assert torch.equal(*noise)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", "bfloat16"), ("16-mixed", "float16"), ("32-true", "float32")]
)
def test_frozen_weights_follow_the_precision(precision, dtype):
    assert run_settings("model=sd15", f"trainer.precision={precision}", "subject=people_001").model.dtype == dtype
    kept = run_settings("model=sd15", f"trainer.precision={precision}", "subject=people_001", "model.dtype=float32")
    assert kept.model.dtype == "float32"


def test_inputs_that_disagree_are_refused(backbone):
    latents, t, poses, text = make_inputs()
    with pytest.raises(ValueError, match="must agree"):
        predict(backbone, latents, t, poses[:, :3], text)
    with pytest.raises(ValueError, match="group_norm must be one of"):
        VideoBackbone(UNet2DConditionModel, ControlNetModel, group_norm="video")
