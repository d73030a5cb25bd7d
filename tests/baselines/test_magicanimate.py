"""Properties of MagicAnimate at toy size."""

import numpy as np
import pytest
import torch

from src.baselines.magicanimate.motion import motion_parameters
from src.baselines.magicanimate.sampling import (
    AnimationJob,
    LatentJob,
    animate,
    draw_noise,
    make_scheduler,
    sample_latents,
    stretch_condition,
    window_predictions,
)
from src.baselines.magicanimate.settings import NetworkSettings, SamplingSettings
from src.baselines.magicanimate.windows import frame_windows, mean_of_windows
from src.common.errors import UserError
from tests.baselines.toys import toy_magicanimate

CELLS, PIXELS, TIMESTEP = 8, 64, 481
SMALL = {"num_steps": 2, "window_frames": 4, "window_overlap": 1, "resolution": PIXELS}


@pytest.fixture(scope="module")
def model():
    return toy_magicanimate()


def latent_job(num_frames: int, *, clips: int = 1, seed: int = 0) -> LatentJob:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return LatentJob(
        latents=draw(clips, 4, num_frames, CELLS, CELLS),
        reference_latents=draw(clips, 4, CELLS, CELLS),
        conditions=torch.rand((clips, num_frames, 3, PIXELS, PIXELS), generator=generator),
        text_uncond=draw(clips, 5, 32),
        text_cond=draw(clips, 5, 32),
    )


def part(job: LatentJob, clip: int) -> LatentJob:
    return LatentJob(*(getattr(job, name)[clip : clip + 1] for name in LatentJob.__dataclass_fields__))


def close(one: torch.Tensor, other: torch.Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


# Guidance and linear betas make rounding errors of a prediction some tens of times larger in the latents.
SAMPLED = 5e-4


@torch.no_grad()
def test_identical_frames_may_be_permuted(model):
    """What a frame gets then depends on its place in the window, not on which frame it is."""
    job = latent_job(6)
    job = LatentJob(
        job.latents[:, :, :1].expand(-1, -1, 6, -1, -1),
        job.reference_latents,
        job.conditions[:, :1].expand(-1, 6, -1, -1, -1),
        job.text_uncond,
        job.text_cond,
    )
    windows = [[0, 1, 2, 3], [3, 1, 0, 2], [4, 5, 0, 1]]
    first, *others = window_predictions(model, job.latents, TIMESTEP, job, windows)
    for other in others:
        close(other[0], first[0])
        close(other[1], first[1])
    assert (first[1][:, :, 0] - first[1][:, :, 1]).abs().max() > 1e-3, "positions make no difference"


@torch.no_grad()
def test_different_frames_may_not_be_permuted(model):
    job = latent_job(4)
    straight, mixed = window_predictions(model, job.latents, TIMESTEP, job, [[0, 1, 2, 3], [3, 1, 0, 2]])
    assert (straight[1][:, :, [3, 1, 0, 2]] - mixed[1]).abs().max() > 1e-3


def test_one_window_is_the_whole(model):
    """A video of a window's length is sampled as if there were no windows."""
    job = latent_job(4)
    windowed = sample_latents(model, job, SamplingSettings(**SMALL))
    whole = sample_latents(model, job, SamplingSettings(**SMALL | {"window_frames": 8}))
    assert torch.equal(windowed, whole)
    longer = sample_latents(model, latent_job(5), SamplingSettings(**SMALL))
    assert (longer[:, :, :4] - whole).abs().max() > 1e-3, "windows make no difference"


def test_windows_of_the_specification():
    assert frame_windows(16, length=16, overlap=4) == [list(range(16))]
    assert frame_windows(20, length=16, overlap=4) == [list(range(16)), [*range(12, 20), *range(8)]]
    assert frame_windows(28, length=16, overlap=4)[2] == [*range(24, 28), *range(12)]


@pytest.mark.parametrize("ends", ["wrap", "shift"])
@pytest.mark.parametrize("num_frames", range(1, 30))
def test_windows_cover_every_frame(ends, num_frames):
    windows = frame_windows(num_frames, length=6, overlap=2, ends=ends)
    assert {frame for window in windows for frame in window} == set(range(num_frames))
    assert all(len(window) == min(6, num_frames) == len(set(window)) for window in windows)


def test_windows_are_averaged_by_frame():
    windows = [[0, 1, 2], [2, 3, 0]]
    predictions = [torch.full((1, 1, 3, 1, 1), value) for value in (1.0, 3.0)]
    assert mean_of_windows(predictions, windows, 4).flatten().tolist() == [2, 1, 2, 3]
    assert torch.equal(mean_of_windows(predictions[::-1], windows[::-1], 4), mean_of_windows(predictions, windows, 4))


@torch.no_grad()
def test_zero_residuals_equal_none(model):
    job = latent_job(3)
    off = toy_magicanimate(NetworkSettings(conditioning_scale=0.0))
    zero = off.control(job.latents, TIMESTEP, job.conditions, job.text_cond)
    assert not zero.mid.any() and not any(skip.any() for skip in zero.down)
    without = model(job.latents, TIMESTEP, job.text_cond)
    assert torch.equal(model(job.latents, TIMESTEP, job.text_cond, residuals=zero), without)
    some = model.control(job.latents, TIMESTEP, job.conditions, job.text_cond)
    assert (model(job.latents, TIMESTEP, job.text_cond, residuals=some) - without).abs().max() > 1e-3


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunked_equals_whole(model, chunk):
    job = latent_job(6)
    whole = sample_latents(model, job, SamplingSettings(**SMALL))
    close(sample_latents(model, job, SamplingSettings(**SMALL, frame_chunk=chunk)), whole, SAMPLED)


def test_two_clips_equal_each_alone(model):
    """Also with a reference, conditions and texts of their own, over several windows."""
    job = latent_job(6, clips=2)
    together = sample_latents(model, job, SamplingSettings(**SMALL))
    for clip in range(2):
        alone = sample_latents(model, part(job, clip), SamplingSettings(**SMALL))
        close(together[clip : clip + 1], alone, SAMPLED)


@torch.no_grad()
def test_only_the_conditional_half_sees_the_reference(model):
    job, other = latent_job(3), latent_job(3, seed=1)
    residuals = model.control(job.latents, TIMESTEP, job.conditions, job.text_cond)
    texts = (job.text_uncond, job.text_cond)
    halves = [
        model.predict_halves(
            job.latents,
            TIMESTEP,
            *texts,
            bank=model.write_bank(reference, TIMESTEP, job.text_cond),
            residuals=residuals,
        )
        for reference in (job.reference_latents, other.reference_latents)
    ]
    assert torch.equal(halves[0][0], halves[1][0])
    assert (halves[0][1] - halves[1][1]).abs().max() > 1e-3


@torch.no_grad()
def test_the_bank_holds_the_mid_and_up_blocks_and_follows_the_timestep(model):
    job = latent_job(1)
    bank = model.write_bank(job.reference_latents, TIMESTEP, job.text_cond)
    assert all(name.startswith(("mid_block.", "up_blocks.")) for name in bank)
    assert len(bank) == 1 + 3 * 2  # one layer a block, and one more in up blocks
    later = model.write_bank(job.reference_latents, 1, job.text_cond)
    assert all((bank[name] - later[name]).abs().max() > 1e-4 for name in bank)


def test_noise_repeats_every_window():
    settings = SamplingSettings(**SMALL)
    repeated = draw_noise(10, (4, 2, 2), settings, seed=1)
    assert torch.equal(repeated[:, :, :4], repeated[:, :, 4:8]) and torch.equal(repeated[:, :, :2], repeated[:, :, 8:])
    free = draw_noise(10, (4, 2, 2), SamplingSettings(**SMALL, frame_noise="independent"), seed=1)
    assert not torch.equal(free[:, :, :4], free[:, :, 4:8])
    assert torch.equal(free[:, :, :4], repeated[:, :, :4])
    assert not torch.equal(draw_noise(10, (4, 2, 2), settings, seed=0), repeated)


def test_timesteps_of_25_steps():
    scheduler = make_scheduler(SamplingSettings())
    scheduler.set_timesteps(25)
    assert scheduler.timesteps[[0, 1, -1]].tolist() == [961, 921, 1]
    assert float(scheduler.final_alpha_cumprod) == 1


@pytest.mark.parametrize(
    "other",
    [{"beta_schedule": "scaled_linear"}, {"steps_offset": 0}, {"last_alpha": "first"}, {"window_ends": "shift"}],
    ids=str,
)
def test_another_schedule_or_another_end_is_another_video(model, other):
    job = latent_job(6)
    usual = sample_latents(model, job, SamplingSettings(**SMALL))
    assert (sample_latents(model, job, SamplingSettings(**SMALL, **other)) - usual).abs().max() > 1e-3


def test_one_picture_in_a_video_out(model, tiny):
    rng = np.random.default_rng(0)
    job = AnimationJob(
        reference=rng.integers(0, 256, (50, 70, 3), np.uint8),
        conditions=rng.integers(0, 256, (5, 80, 60, 3), np.uint8),
        fps=10.0,
    )
    settings = SamplingSettings(**SMALL)
    result = animate(model, tiny.vae, tiny.encode_prompt, job, settings)
    assert result.frames.shape == (5, PIXELS, PIXELS, 3) and result.frames.dtype == np.uint8
    assert (result.fps, result.num_padded, len(result.windows)) == (25.0, 3, 3)
    plain = animate(
        model, tiny.vae, tiny.encode_prompt, job, SamplingSettings(**SMALL, padding="none", output_fps=None)
    )
    assert (plain.fps, plain.num_padded, len(plain.frames)) == (10.0, 0, 5)
    rounded = animate(model, tiny.vae, tiny.encode_prompt, job, SamplingSettings(**SMALL, quantise="round"))
    step = rounded.frames.astype(int) - result.frames
    assert step.min() == 0 and step.max() == 1


def test_conditions_of_the_right_height_are_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert stretch_condition(image, 32) is image
    assert stretch_condition(image[:30, :20], 32).shape == (32, 32, 3)
    with pytest.raises(UserError, match="20x32 pixels.*needs 32x32"):
        stretch_condition(image[:, :20], 32)


def test_windows_longer_than_the_position_table(model):
    with pytest.raises(UserError, match=r"window_frames=9: the motion modules have 8 positions"):
        sample_latents(model, latent_job(10), SamplingSettings(num_steps=1, window_frames=9))


def test_a_resolution_that_does_not_suit(model, tiny):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="resolution=40 .* a multiple of 64"):
        animate(
            model, tiny.vae, tiny.encode_prompt, AnimationJob(images[0], images, 1.0), SamplingSettings(resolution=40)
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance_scale": 1.0}, "guidance_scale=1.0 must be above 1"),
        ({"window_frames": 4, "window_overlap": 4}, "window_overlap=4 must be below method.window_frames=4"),
        ({"num_steps": 0}, "method.num_steps=0 is not in 1 to 999"),
        ({"num_steps": 1000}, "method.num_steps=1000 is not in 1 to 999"),
        ({"frame_chunk": 0}, "frame_chunk=0"),
        ({"output_fps": 0.0}, "output_fps=0.0"),
    ],
    ids=str,
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UserError, match=message):
        SamplingSettings(**settings)


def test_motion_modules_are_the_trainable_part(model):
    motion = {id(parameter) for parameter in motion_parameters(model.unet)}
    names = {name for name, parameter in model.unet.named_parameters() if id(parameter) in motion}
    assert names and all(".motion_modules." in name for name in names)
    assert not any(name.endswith(".pe") for name in names)
