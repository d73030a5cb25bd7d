"""The noise schedule: the method's own DDIM settings on the betas and the prediction type that define a model.

Dimensions: F frames, C channels, h×w latent cells.
"""

import logging
from typing import Any, Literal, cast

from diffusers import DDIMScheduler
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import IntTensor, Tensor

from src.common.counting import counted
from src.common.errors import UserError
from src.models.ddim_steps import NUM_TRAIN_TIMESTEPS
from src.models.settings import PredictionType

log = logging.getLogger(__name__)
# How the public ControlVideo code, and so the method, walks along the noise levels.
CANONICAL = {
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "thresholding": False,
    "timestep_spacing": "leading",
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore"))
class NoiseSchedule:
    """What a scheduler's file says that belongs to the model; the defaults are those of every diffusers scheduler.

    Attributes:
        num_train_timesteps: T.
        beta_start, beta_end, beta_schedule: of the noise levels; trained_betas: T of them, in place of the three.
        prediction_type: what the UNet predicts.
        rescale_betas_zero_snr: no signal is left at T.
    """

    num_train_timesteps: int = NUM_TRAIN_TIMESTEPS
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[float] | None = None
    prediction_type: PredictionType = "epsilon"
    rescale_betas_zero_snr: bool = False


def ddim_scheduler(
    config: dict[str, Any],
    *,
    where: str,
    prediction_type: PredictionType | None = None,
    zero_terminal_snr: bool | None = None,
) -> DDIMScheduler:
    """The sampler's scheduler for a model whose scheduler file holds `config`, of whatever sampler it was saved.

    Args:
        config: content of `scheduler_config.json`; what is not the model's own is replaced, and the log says so.
        where: what the file is called in messages.
        prediction_type, zero_terminal_snr: override the file, which may not know; None: as it says.

    Raises:
        UserError: noise levels or a prediction type that the method cannot work with.
    """
    overridden = {"prediction_type": prediction_type, "rescale_betas_zero_snr": zero_terminal_snr}
    given = config | {name: value for name, value in overridden.items() if value is not None}
    try:
        schedule = TypeAdapter(NoiseSchedule).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "content"
        raise UserError(f"the scheduler of {where} has {key}={given.get(key)!r:.60}: {first['msg']}") from error
    if schedule.num_train_timesteps != NUM_TRAIN_TIMESTEPS:
        raise UserError(
            f"the scheduler of {where} has {counted(schedule.num_train_timesteps, 'timestep')}: expected "
            f"{NUM_TRAIN_TIMESTEPS}, as every Stable Diffusion has"
        )
    if schedule.rescale_betas_zero_snr and schedule.prediction_type == "epsilon":
        raise UserError(
            f"{where} has zero terminal SNR and predicts the noise, of which nothing can be learnt where there is no "
            "signal: set model.prediction_type=v_prediction if it was trained so, or model.zero_terminal_snr=false"
        )
    scheduler = DDIMScheduler(**{name: getattr(schedule, name) for name in NoiseSchedule.__annotations__}, **CANONICAL)
    signal = scheduler.alphas_cumprod
    if len(signal) != NUM_TRAIN_TIMESTEPS or not (signal.isfinite() & (signal >= 0) & (signal <= 1)).all():
        raise UserError(f"the scheduler of {where} has betas that are no noise levels: expected 1000 between 0 and 1")
    if differing := {name: config[name] for name in CANONICAL if name in config and config[name] != CANONICAL[name]}:
        listed = ", ".join(f"{name}={value} (here {CANONICAL[name]})" for name, value in differing.items())
        saved_from = config.get("_class_name", "another sampler")
        log.info(
            "the scheduler file of %s, saved from %s, differs in %s: the method's own is used",
            *(where, saved_from),
            listed,
        )
    if schedule.prediction_type != "epsilon":
        log.info("%s predicts %s: trained and sampled so", where, schedule.prediction_type)
    return scheduler


def training_target(scheduler: DDIMScheduler, latents_FChw: Tensor, noise_FChw: Tensor, t: Tensor) -> Tensor:
    """What the UNet is to predict of noised latents (F, C, h, w): the noise ε (Eq. 3), or v = √ᾱ·ε − √(1−ᾱ)·Z_0.

    Args:
        t: timesteps, one or F of them.
    """
    if scheduler.config["prediction_type"] == "v_prediction":
        return scheduler.get_velocity(latents_FChw, noise_FChw, cast(IntTensor, t.expand(len(latents_FChw))))
    return noise_FChw


def read_scheduler_config(base: str) -> dict[str, Any]:
    """Content of `scheduler/scheduler_config.json` of a folder or hub id."""
    return dict(cast("dict[str, Any]", DDIMScheduler.load_config(base, subfolder="scheduler")))
