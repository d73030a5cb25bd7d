"""Outputs of our DisCo for the inputs and weights of a reference file (section 6 of its specification)."""

from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from src.baselines.disco.model import DisCo, background_controlnet
from src.baselines.disco.names import PARTS, rename_checkpoint
from src.baselines.disco.sampling import LatentJob, make_scheduler, sample_latents
from tests.baselines.magicanimate_reference import image_unet_config

# Stable Diffusion 1's noise levels.
SCHEDULER = {
    **{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1},
    **{"set_alpha_to_one": False, "timestep_spacing": "leading", "prediction_type": "epsilon"},
}


def build(reference: Any) -> DisCo:
    """The model with the file's weights, strictly loaded."""
    sizes = reference.sizes
    config = image_unet_config(sizes)
    embedding = sizes["conditioning_embedding_out_channels"]
    pose, background = (ControlNetModel(**config, conditioning_embedding_out_channels=embedding) for _ in range(2))
    model = DisCo(
        UNet2DConditionModel(**config),
        pose,
        background_controlnet(background),
        CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes["clip"])),
        AutoencoderKL(**sizes["vae"]),
    )
    state = {name: t for name, t in reference.tensors.items() if name.startswith(PARTS)}
    model.load_state_dict(rename_checkpoint(state), assign=True)
    # Tables that are computed in float32 whatever the weights are.
    return model.to(reference.dtype)


def outputs(reference: Any) -> dict[str, Tensor]:
    """Everything that section 6 lists, by its name there."""
    model, tensors, sizes = build(reference), reference.part("in."), reference.sizes
    scheduler = make_scheduler(SCHEDULER)
    t = torch.as_tensor(int(tensors["timestep"].flatten()[0]))
    latents, pose, background = tensors["latents"], tensors["pose"], tensors["background_latents"]
    context = model.context(tensors["foreground"])
    uncond = model.unconditional_context("clip_of_zeros").expand_as(context)
    job = LatentJob(latents, background, pose, context, uncond)

    def sampled(job: LatentJob, scale: float) -> Tensor:
        return sample_latents(model, job, scheduler, num_steps=sizes["steps"], scale=scale)

    def alone(net: ControlNetModel, condition: Tensor) -> Tensor:
        return net(latents, t, encoder_hidden_states=context, controlnet_cond=condition, return_dict=False)[1]

    both = [torch.cat([part] * 2) for part in (latents, pose, background)]
    down, mid = model.control(both[0], t, torch.cat([uncond, context]), *both[1:])
    noise_uncond = model(latents, t, uncond, pose, background)
    noise_cond = model(latents, t, context, pose, background)
    final = sampled(job, sizes["guidance_scale"])
    zeros = LatentJob(latents, background, pose, context, model.unconditional_context("zeros").expand_as(context))
    return {
        "context_cond": context,
        "context_uncond": uncond,
        "background_latents_mean": model.encode(tensors["background_image"], generator=None),
        "pose_mid": alone(model.controlnet.nets[0], pose),
        "background_mid": alone(model.controlnet.nets[1], background),
        **{f"controlnet_down_{i}": skip for i, skip in enumerate(down)},
        "controlnet_mid": mid,
        "noise_pred_uncond": noise_uncond,
        "noise_pred_cond": noise_cond,
        "noise_pred_guided": noise_uncond + sizes["guidance_scale"] * (noise_cond - noise_uncond),
        "timesteps": scheduler.timesteps,
        "sampled": final,
        "image": model.decode(final),
        "sampled_zero_context": sampled(zeros, sizes["guidance_scale_zero_context"]),
    }
