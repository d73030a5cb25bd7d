"""DDIM inversion (Eq. 4) and DDIM sampling on diffusers' schedulers; no network is known here.

Dimensions: B clips, F frames, C channels, h×w latent cells.
"""

import inspect
from collections.abc import Callable, Iterable

from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

PredictNoise = Callable[[Tensor, int], Tensor]
EditLatents = Callable[[Tensor, int], Tensor]
Progress = Callable[[Iterable, str], Iterable]


def untracked(items: Iterable, description: str) -> Iterable:
    """No bar."""
    return items


def ddim_invert(
    latents_BFChw: Tensor,
    predict_noise: PredictNoise,
    scheduler: DDIMScheduler,
    num_steps: int,
    *,
    iterations: int = 1,
    progress: Progress = untracked,
) -> list[Tensor]:
    """Z_T = DDIM-inv(X, Q, p_s) (Eq. 4): run the deterministic sampler backwards, from clean latents to noise.

    A sampling step back to where this one starts would predict the noise at the latents and the timestep that this one
    leads to. As in the public ControlVideo code it is predicted at that timestep, from the latents of before. Further
    iterations predict it again from the latents that were found, a fixed-point iteration towards the step that sampling
    undoes (Pan et al. 2023, "Effective Real Image Editing with Accelerated Iterative Diffusion Inversion"; Garibi et
    al. 2024, "ReNoise: Real Image Inversion Through Iterative Noising").

    Args:
        latents_BFChw: clean latents Z_0.
        predict_noise: ε_θ(latents, timestep).
        scheduler: the sampler's scheduler, whose noise levels are used.
        num_steps: number of steps, the same as for sampling.
        iterations: predictions of the noise a step, at least 1.
        progress: wraps the iterable of timesteps.

    Returns:
        num_steps + 1 latents: Z_0 and then the latents at each timestep of the sampler, the last of them Z_T.
    """
    known = inspect.signature(DDIMInverseScheduler.__init__).parameters
    inverse = DDIMInverseScheduler(**{name: value for name, value in scheduler.config.items() if name in known})
    inverse.set_timesteps(num_steps)
    trajectory = [latents_BFChw]
    for t in progress(inverse.timesteps.tolist(), "inversion"):
        reached = trajectory[-1]
        for _ in range(iterations):
            reached = inverse.step(predict_noise(reached, t), t, trajectory[-1], return_dict=False)[0]
        trajectory.append(reached)
    return trajectory


def ddim_sample(
    latents_BFChw: Tensor,
    predict_noise: PredictNoise,
    scheduler: DDIMScheduler,
    num_steps: int,
    *,
    edit_latents: EditLatents | None = None,
    progress: Progress = untracked,
) -> Tensor:
    """DDIM sampling with eta 0, from Z_T to clean latents.

    Args:
        latents_BFChw: initial latents Z_T.
        predict_noise: ε_θ(latents, timestep), guidance included.
        scheduler: DDIM scheduler; its timesteps are set here.
        num_steps: number of steps.
        edit_latents: called as (latents, index of the step) before each step, returns the latents to go on with.
        progress: wraps the iterable of timesteps.
    """
    scheduler.set_timesteps(num_steps)
    for index, t in enumerate(progress(scheduler.timesteps.tolist(), "sampling")):
        if edit_latents is not None:
            latents_BFChw = edit_latents(latents_BFChw, index)
        latents_BFChw = scheduler.step(predict_noise(latents_BFChw, t), t, latents_BFChw, eta=0.0, return_dict=False)[0]
    return latents_BFChw
