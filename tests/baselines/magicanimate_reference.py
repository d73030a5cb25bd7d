"""Outputs of our MagicAnimate for the inputs and weights of a reference file (section 6 of its specification).

Dimensions: B clips, F frames, C channels, H×W pixels, h×w latent cells, T text tokens, E text channels.
"""

from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.motion import build_video_unet
from src.baselines.magicanimate.names import max_positions, rename_motion
from src.baselines.magicanimate.reference_attention import AppearanceEncoder
from src.baselines.magicanimate.sampling import LatentJob, guide, make_scheduler, sample_latents, window_predictions
from src.baselines.magicanimate.settings import MAX_POSITIONS, NetworkSettings, SamplingSettings
from src.baselines.magicanimate.windows import frame_windows


def image_unet_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes of a UNet or ControlNet from a file's metadata."""
    same = ("block_out_channels", "layers_per_block", "cross_attention_dim", "norm_num_groups")
    return {**{name: sizes[name] for name in same}, "attention_head_dim": sizes["heads"]}


def build(reference: Any, settings: NetworkSettings | None = None) -> MagicAnimate:
    """The model with the file's weights, strictly loaded."""
    config = image_unet_config(reference.sizes)
    unet = UNet2DConditionModel(**config)
    unet.load_state_dict(reference.part("unet."), assign=True)
    motion = rename_motion(reference.part("motion."))
    encoder = AppearanceEncoder(UNet2DConditionModel(**config))
    encoder.unet.load_state_dict(reference.part("appearance."), assign=True)
    embedding = reference.sizes["conditioning_embedding_out_channels"]
    controlnet = ControlNetModel(**config, conditioning_embedding_out_channels=embedding)
    controlnet.load_state_dict(reference.part("controlnet."), assign=True)
    video_unet = build_video_unet(
        unet,
        {},
        motion,
        what="the reference file",
        max_positions=max_positions(motion, MAX_POSITIONS),
        heads=reference.sizes.get("motion_heads"),
        dtype=reference.dtype,
    )
    if settings is None:
        half = str(reference.sizes.get("bank_dtype", "")).endswith("float16")
        settings = NetworkSettings(bank_dtype="float16" if half else "model")
    return MagicAnimate(video_unet, encoder, controlnet.eval(), settings=settings)


def latent_job(reference: Any) -> LatentJob:
    """The file's inputs; what is given once is shared by all clips."""
    tensors = reference.part("in.")
    num_clips = len(tensors["latents"])
    conditions = tensors["condition_uint8"].to(reference.dtype) / 255
    # Of all clips, of each, or of each behind the other.
    conditions = conditions.reshape(-1, tensors["latents"].shape[2], *conditions.shape[-3:]).movedim(-1, -3)
    text = tensors["text_uncond_cond"]
    uncond, cond = text.chunk(2)

    def for_all(tensor: Tensor) -> Tensor:
        return tensor if len(tensor) == num_clips else tensor.expand(num_clips, *tensor.shape[1:])

    return LatentJob(
        tensors["latents"], for_all(tensors["reference_latents"]), for_all(conditions), for_all(uncond), for_all(cond)
    )


def sampling_settings(sizes: dict[str, Any]) -> SamplingSettings:
    return SamplingSettings(
        num_steps=sizes["steps"],
        guidance_scale=sizes["guidance_scale"],
        window_frames=sizes["window"],
        window_overlap=sizes["overlap"],
    )


def outputs(reference: Any, settings: NetworkSettings | None = None) -> dict[str, Tensor]:
    """Everything that section 6 lists, by its name there."""
    model, job, sampling = build(reference, settings), latent_job(reference), sampling_settings(reference.sizes)
    timestep, scale = int(reference.tensors["in.timestep"].flatten()[0]), sampling.guidance_scale
    num_frames = job.latents.shape[2]
    windows = frame_windows(num_frames, length=sampling.window_frames, overlap=sampling.window_overlap)
    expected = reference.part("out.")
    window = windows[0][: expected["noise_pred_cond"].shape[2]] if "noise_pred_cond" in expected else windows[0]

    latents = job.latents[:, :, window]
    first = LatentJob(latents, job.reference_latents, job.conditions[:, window], job.text_uncond, job.text_cond)
    texts = torch.cat([job.text_uncond, job.text_cond])
    bank = model.write_bank(torch.cat([job.reference_latents] * 2), timestep, texts)
    residuals = model.control(latents, timestep, first.conditions, job.text_cond)
    ((uncond, cond),) = window_predictions(model, latents, timestep, first, [list(range(len(window)))])
    scheduler = make_scheduler(sampling)
    scheduler.set_timesteps(sampling.num_steps)
    step0 = window_predictions(model, job.latents, int(scheduler.timesteps[0]), job, windows)
    result = {
        "noise_pred_plain": model(latents, timestep, job.text_cond),
        "controlnet_mid": residuals.mid.flatten(0, 1),
        "noise_pred_uncond": uncond,
        "noise_pred_cond": cond,
        "noise_pred_guided": guide(uncond, cond, scale),
        "windows": torch.tensor(windows),
        "timesteps": scheduler.timesteps,
        "sampled": sample_latents(model, job, sampling),
    }
    result |= {f"bank.{name}": tokens for name, tokens in bank.items()}
    result |= {f"controlnet_down_{i}": skip.flatten(0, 1) for i, skip in enumerate(residuals.down)}
    result |= {f"step0_window{i}": torch.cat(halves) for i, halves in enumerate(step0)}
    return result
