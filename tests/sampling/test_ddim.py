import torch

from src.sampling.ddim import ddim_invert, ddim_sample


def test_sampling_undoes_inversion_where_the_noise_does_not_depend_on_the_latents(scheduler):
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 2, 4, 8, 8, generator=generator)
    noise = {t: torch.randn(clean.shape, generator=generator) for t in range(1000)}

    def predict(latents, timestep):
        return noise[timestep]

    trajectory = ddim_invert(clean, predict, scheduler, 20)
    assert len(trajectory) == 21 and torch.equal(trajectory[0], clean)
    torch.testing.assert_close(ddim_sample(trajectory[-1], predict, scheduler, 20), clean, rtol=0, atol=1e-4)


def test_the_edit_is_called_before_each_step_and_its_result_is_used(scheduler):
    seen = []

    def edit(latents, step):
        seen.append(step)
        return torch.zeros_like(latents) if step == 2 else latents

    out = ddim_sample(torch.randn(1, 1, 4, 2, 2), lambda z, t: torch.zeros_like(z), scheduler, 4, edit_latents=edit)
    assert seen == [0, 1, 2, 3] and not out.any()


def test_more_predictions_a_step_of_the_inversion_are_what_sampling_undoes(scheduler):
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 1, 4, 8, 8, generator=generator)

    def predict(latents, timestep):
        return 0.5 * latents.roll(1, -1).tanh() + timestep / 2000

    def error(iterations):
        noise = ddim_invert(clean, predict, scheduler, 8, iterations=iterations)[-1]
        return float((ddim_sample(noise, predict, scheduler, 8) - clean).norm() / clean.norm())

    errors = [error(iterations) for iterations in (1, 2, 4, 8)]
    assert errors[0] > 0.1 and errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2 and errors[3] < 1e-2
