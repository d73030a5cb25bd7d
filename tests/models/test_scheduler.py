import json
import logging

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from src.common.errors import UserError
from src.models.ddim_steps import check_num_steps
from src.models.loading import random_image_model
from src.models.scheduler import ddim_scheduler, training_target
from src.sampling.ddim import ddim_invert, ddim_sample
from tests.models.loaded import loaded_model
from tests.models.test_loading import save_folder

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize(
    "scheduler",
    [
        DPMSolverMultistepScheduler(**BETAS, timestep_spacing="linspace", use_karras_sigmas=True),
        EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
        UniPCMultistepScheduler(**BETAS),
        PNDMScheduler(**BETAS, skip_prk_steps=True),
        DDIMScheduler(**BETAS),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_whatever_sampler_a_folder_was_saved_from_the_methods_own_settings_hold(scheduler, tiny, tmp_path, caplog):
    """Also where the file lacks `clip_sample`: the library's default clips clean latents to 1."""
    folder = save_folder(tiny, tmp_path)
    (folder / "scheduler/scheduler_config.json").unlink()
    scheduler.save_pretrained(folder / "scheduler")
    path = folder / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "clip_sample"}))
    with caplog.at_level(logging.INFO, "src.models.scheduler"):
        loaded = loaded_model(str(folder)).scheduler
    expected = {key: value for key, value in tiny.scheduler.config.items() if not key.startswith("_")}
    assert {key: loaded.config[key] for key in expected} == expected
    torch.testing.assert_close(loaded.alphas_cumprod, tiny.scheduler.alphas_cumprod, rtol=0, atol=0)
    differs = getattr(scheduler.config, "timestep_spacing", "leading") != "leading"
    assert ("timestep_spacing=" in caplog.text) == differs
    clean = 4 * torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    trajectory = ddim_invert(clean, lambda z, t: torch.ones_like(z), loaded, 20)
    back = ddim_sample(trajectory[-1], lambda z, t: torch.ones_like(z), loaded, 20)
    torch.testing.assert_close(back, clean, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"prediction_type": "sample"}, r"has prediction_type='sample'"),
        ({"beta_schedule": "exponential"}, r"has beta_schedule='exponential'"),
        ({"beta_start": "x"}, r"has beta_start='x'"),
        ({"trained_betas": [0.1, 0.2]}, r"betas that are no noise levels"),
        ({"beta_end": 7.0}, r"betas that are no noise levels"),
        ({"num_train_timesteps": 500}, r"has 500 timesteps: expected 1000"),
        ({"rescale_betas_zero_snr": True}, r"zero terminal SNR and predicts the noise.*prediction_type=v_prediction"),
    ],
)
def test_schedules_that_cannot_be_worked_with_are_refused(config, message):
    with pytest.raises(UserError, match=message):
        ddim_scheduler(BETAS | config, where="x")


def test_settings_say_what_a_file_cannot():
    scheduler = ddim_scheduler(BETAS, where="x", prediction_type="v_prediction", zero_terminal_snr=True)
    assert scheduler.config.prediction_type == "v_prediction" and scheduler.alphas_cumprod[-1] == 0
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    back = ddim_scheduler(BETAS | said, where="x", prediction_type="epsilon", zero_terminal_snr=False)
    assert back.config.prediction_type == "epsilon" and back.alphas_cumprod[-1] > 0


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_a_model_of_v_is_trained_on_v_inverted_and_sampled_in_v(zero_terminal_snr):
    """Where the prediction is exact, clean latents come back; the target is what an exact prediction would be."""
    scheduler = ddim_scheduler(BETAS, where="x", prediction_type="v_prediction", zero_terminal_snr=zero_terminal_snr)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    levels = scheduler.alphas_cumprod

    def exact(latents_BFChw, t):
        """v of a model that knows the clean latents, by its definition."""
        a, s = levels[t].sqrt(), (1 - levels[t]).sqrt()
        epsilon = (latents_BFChw - a * clean) / s
        return a * epsilon - s * clean

    for t in (1, 500, 981):
        noised = levels[t].sqrt() * clean + (1 - levels[t]).sqrt() * noise
        target = training_target(scheduler, clean, noise, torch.tensor([t]))
        torch.testing.assert_close(target, exact(noised, t), rtol=1e-4, atol=1e-4)
    started = levels[981].sqrt() * clean + (1 - levels[981]).sqrt() * noise
    torch.testing.assert_close(
        ddim_sample(started[None], exact, scheduler, 50)[0],
        levels[0].sqrt() * clean + (1 - levels[0]).sqrt() * noise,
        rtol=0,
        atol=1e-2,
    )
    guess = {t: torch.randn(1, *clean.shape, generator=generator) for t in range(1000)}

    def of_noise(latents_BFChw, t):
        """v of a model whose noise does not depend on the latents, so that sampling undoes inversion."""
        level = levels[max(t - 20, 0)] if inverting else levels[t]
        a, s = level.sqrt(), (1 - level).sqrt()
        return (guess[t] - s * latents_BFChw) / a

    inverting = True
    trajectory = ddim_invert(clean[None], of_noise, scheduler, 50)
    inverting = False
    back = ddim_sample(trajectory[-1], of_noise, scheduler, 50)
    torch.testing.assert_close(back[0], clean, rtol=0, atol=2e-3)


def test_the_noise_stays_the_target_of_a_model_of_noise(scheduler):
    noise = torch.randn(2, 4, 3, 3)
    assert torch.equal(training_target(scheduler, torch.zeros(2, 4, 3, 3), noise, torch.tensor([7])), noise)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 20, 33, 50, 60, 100, 125, 200, 250, 333, 500, 999])
def test_numbers_of_steps_that_the_schedule_gives(num_steps, scheduler):
    check_num_steps(num_steps)
    scheduler.set_timesteps(num_steps)
    first, stride = int(scheduler.timesteps[0]), 1000 // num_steps
    assert first < 1000 and first + stride >= 950 and len(scheduler.timesteps) == num_steps


@pytest.mark.parametrize(
    ("num_steps", "message"),
    [
        (400, r"start at t = 799 instead of from noise; give 333 or 475"),
        (600, r"start at t = 600 instead of from noise; give 500 or 950"),
        (300, r"start at t = 898"),
        (1000, r"sampling.num_steps=1000 is not in 1 to 999"),
        (0, r"not in 1 to 999"),
        (True, r"not in 1 to 999"),
    ],
)
def test_numbers_of_steps_that_it_cannot_give_are_refused_with_those_that_it_can(num_steps, message):
    with pytest.raises(UserError, match=message):
        check_num_steps(num_steps)


def test_random_models_of_v_are_trained_otherwise():
    one, other = (random_image_model("tiny", base="t", seed=0, prediction_type=kind) for kind in (None, "v_prediction"))
    assert (
        one.scheduler.config.prediction_type == "epsilon" and other.scheduler.config.prediction_type == "v_prediction"
    )
