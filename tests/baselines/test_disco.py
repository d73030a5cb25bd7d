"""Properties of DisCo's sampling at toy size."""

import numpy as np
import pytest
import torch

from src.baselines.disco.preprocessing import (
    Square,
    background_image,
    centre_square,
    foreground_image,
    random_square,
    unit_image,
)
from src.baselines.disco.sampling import DisCoJob, LatentJob, draw_noise, generate, guided_noise, make_scheduler
from src.baselines.disco.settings import SamplingSettings
from src.common.errors import UserError
from tests.baselines.disco_reference import SCHEDULER
from tests.baselines.toys import toy_disco

SMALL = {"num_steps": 2, "resolution": 64}


@pytest.fixture(scope="module")
def model():
    return toy_disco()


@pytest.fixture(scope="module")
def job() -> DisCoJob:
    rng = np.random.default_rng(0)
    mask = np.zeros((80, 100), np.float32)
    mask[10:70, 30:70] = 1
    poses = np.zeros((5, 80, 100, 3), np.uint8)
    for index, pose in enumerate(poses):
        pose[:, 15 + 10 * index :, index % 3] = 255
    return DisCoJob(rng.integers(0, 256, (80, 100, 3), np.uint8), mask, poses)


def film(model, job, **settings) -> np.ndarray:
    return generate(model, make_scheduler(SCHEDULER), job, SamplingSettings(**SMALL | settings)).astype(int)


@pytest.mark.parametrize("noise", ["shared", "batch_of_64"])
def test_no_frame_depends_on_the_batch_size_or_on_other_frames(model, job, noise):
    """Up to the rounding that another batch size brings."""
    whole = film(model, job, frame_noise=noise, batch_size=8)
    assert whole.shape == (5, 64, 64, 3)
    for size in (1, 2):
        assert np.abs(film(model, job, frame_noise=noise, batch_size=size) - whole).max() <= 1
    first = DisCoJob(job.reference, job.mask, job.poses[:2])
    assert np.abs(film(model, first, frame_noise=noise) - whole[:2]).max() <= 1


def test_noise_rules():
    shared = draw_noise(70, (4, 2, 2), SamplingSettings(), seed=42)
    assert all(torch.equal(noise, shared[0]) for noise in shared)
    apart = draw_noise(70, (4, 2, 2), SamplingSettings(frame_noise="batch_of_64"), seed=42)
    assert torch.equal(apart[64:], apart[:6]) and not torch.equal(apart[0], apart[1])
    assert torch.equal(draw_noise(3, (4, 2, 2), SamplingSettings(frame_noise="batch_of_64"), seed=42), apart[:3])
    assert not torch.equal(draw_noise(70, (4, 2, 2), SamplingSettings(), seed=0), shared)


@pytest.mark.parametrize(
    "other",
    [
        {"unconditional": "zeros"},
        {"guidance_scale": 4.0},
        {"background_latents": "mean"},
        {"frame_noise": "batch_of_64"},
    ],
    ids=str,
)
def test_another_setting_is_another_picture(model, job, other):
    assert np.abs(film(model, job, **other) - film(model, job)).max() > 1


@pytest.mark.parametrize("part", ["reference", "mask", "poses", "seed"])
def test_every_input_counts(model, job, part):
    changed = {
        "reference": {"reference": job.reference[::-1].copy()},
        "mask": {"mask": np.roll(job.mask, 15, 1)},
        "poses": {"poses": 255 - job.poses},
        "seed": {"seed": 1},
    }[part]
    values = {"reference": job.reference, "mask": job.mask, "poses": job.poses, "seed": job.seed}
    assert np.abs(film(model, DisCoJob(**values | changed)) - film(model, job)).max() > 1


@torch.no_grad()
def test_guidance_up_to_one_is_the_conditional_half_alone(model):
    generator = torch.Generator().manual_seed(0)
    latents, background = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    pose = torch.rand(2, 3, 64, 64, generator=generator)
    context, uncond = (torch.randn(2, 17, 32, generator=generator) for _ in range(2))
    job = LatentJob(latents, background, pose, context, uncond)
    cond = model(latents, torch.tensor(481), context, pose, background)
    assert torch.equal(guided_noise(model, latents, 481, job, 1.0), cond)
    other = model(latents, torch.tensor(481), uncond, pose, background)
    expected = other + 3 * (cond - other)
    torch.testing.assert_close(guided_noise(model, latents, 481, job, 3.0), expected, rtol=0, atol=2e-5)


@torch.no_grad()
def test_both_controlnets_are_added_and_zeroed_ones_change_nothing(model):
    generator = torch.Generator().manual_seed(0)
    latents, background = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    pose = torch.rand(2, 3, 64, 64, generator=generator)
    context, t = torch.randn(2, 17, 32, generator=generator), torch.tensor(481)
    down, mid = model.control(latents, t, context, pose, background)
    alone = [
        net(latents, t, encoder_hidden_states=context, controlnet_cond=condition, return_dict=False)
        for net, condition in zip(model.controlnet.nets, (pose, background), strict=True)
    ]
    torch.testing.assert_close(mid, alone[0][1] + alone[1][1])
    assert all(torch.allclose(skip, a + b) for skip, a, b in zip(down, alone[0][0], alone[1][0], strict=True))
    zeroed = toy_disco()
    for net in zeroed.controlnet.nets:
        for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            torch.nn.init.zeros_(layer.weight)
    plain = zeroed.unet(latents, t, encoder_hidden_states=context, return_dict=False)[0]
    assert torch.equal(zeroed(latents, t, context, pose, background), plain)
    assert (model(latents, t, context, pose, background) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_the_context_holds_every_token_normed(model):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    context = model.context(images)
    assert context.shape == (2, 17, 32)
    pooled = model.clip_image_encoder.vision_model(pixel_values=images).pooler_output
    torch.testing.assert_close(context[:, 0], model.refer_clip_proj(pooled))
    assert (context[:, 1] - context[:, 2]).abs().max() > 1e-3
    assert not model.unconditional_context("zeros").any()
    black = model.context(torch.zeros(1, 3, 32, 32))
    assert torch.equal(model.unconditional_context("clip_of_zeros"), black)


@torch.no_grad()
def test_background_latents(model):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean = model.encode(image, generator=None)
    one, same, other = (model.encode(image, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other) and not torch.equal(one, mean)
    posterior = model.vae.encode(image).latent_dist
    torch.testing.assert_close(mean, posterior.mean * model.vae.config.scaling_factor)


def test_the_person_is_grey_in_the_background_and_alone_in_the_foreground():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (64, 64, 3), np.uint8), np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    square = centre_square(64, 64)
    background = background_image(image, mask, square, 64)
    assert not background[:, 16:48, 16:48].any()
    torch.testing.assert_close(background[:, :16], unit_image(image, square, 64)[:, :16] * 2 - 1)
    foreground = foreground_image(image, mask, square, 64)
    assert not foreground[:, :16].any() and not foreground[:, :, 48:].any()
    whole = foreground_image(image, np.ones((64, 64), np.float32), square, 64)
    torch.testing.assert_close(foreground[:, 16:48, 16:48], whole[:, 16:48, 16:48])
    # CLIP's normalisation: its mean and deviation of the red channel.
    red = torch.from_numpy(image[:, :, 0]) / 255
    torch.testing.assert_close(whole[0], (red - 0.48145466) / 0.26862954, rtol=0, atol=1e-5)


def test_random_squares_stay_inside_and_follow_the_generator():
    for seed in range(200):
        square, again = (
            random_square(40, 60, least_area=0.5, generator=torch.Generator().manual_seed(seed)) for _ in range(2)
        )
        assert square == again
        assert 0 <= square.left <= 60 - square.side and 0 <= square.top <= 40 - square.side
        assert 0.5**0.5 * 40 - 1 <= square.side <= 40
    whole = random_square(40, 40, least_area=1.0, generator=torch.Generator().manual_seed(0))
    assert whole == Square(0, 0, 40)


@pytest.mark.parametrize(
    ("checkpoint", "scale", "unconditional"),
    [("general", 3.0, "zeros"), ("general_cfg", 1.5, "clip_of_zeros"), ("human_specific", 7.5, "zeros")],
)
def test_guidance_belongs_to_the_checkpoint(checkpoint, scale, unconditional):
    settings = SamplingSettings(checkpoint=checkpoint)
    assert (settings.scale, settings.unconditional_context) == (scale, unconditional)
    other = SamplingSettings(checkpoint=checkpoint, guidance_scale=0.0, unconditional="clip_of_zeros")
    assert (other.scale, other.unconditional_context) == (0.0, "clip_of_zeros")


def test_what_cannot_be_filmed_is_said(model, job):
    with pytest.raises(UserError, match="mask of the reference is empty"):
        DisCoJob(job.reference, np.zeros_like(job.mask), job.poses)
    with pytest.raises(UserError, match="resolution=40 .* a multiple of 64"):
        film(model, job, resolution=40)
    for steps in (0, 1000):
        with pytest.raises(UserError, match=f"method.num_steps={steps} is not in 1 to 999"):
            SamplingSettings(num_steps=steps)


def test_the_background_is_not_sampled_with_the_noise_of_the_frames(model, job, monkeypatch):
    drawn = []

    def encode(images, *, generator):
        drawn.append(torch.randn(1, 4, 8, 8, generator=generator))
        return torch.zeros(1, 4, 8, 8)

    monkeypatch.setattr(model, "encode", encode)
    film(model, job, num_steps=1, resolution=64)
    assert not torch.equal(drawn[0], draw_noise(1, (4, 8, 8), SamplingSettings(), seed=job.seed))
