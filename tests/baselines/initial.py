"""A DisCo before any training of its own: an image model's UNet, and ControlNets that start as its copies (1)."""

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPVisionModelWithProjection

from src.baselines.disco.model import DisCo, background_controlnet
from src.common.errors import UserError


@torch.no_grad()
def initial_disco(
    unet: UNet2DConditionModel,
    clip_image_encoder: CLIPVisionModelWithProjection,
    vae: AutoencoderKL,
    *,
    pose_embedding: tuple[int, ...],
) -> DisCo:
    """Both ControlNets are copies of the UNet; the background's embedding is one of its first convolution; the
    projection is CLIP's own.

    Args:
        pose_embedding: channels of the pose's embedding; each but the first halves the picture, together as often as
            the VAE.

    Raises:
        UserError: CLIP projects to other than the UNet's context channels.
    """
    channels, needed = clip_image_encoder.config.projection_dim, unet.config["cross_attention_dim"]
    if channels != needed:
        raise UserError(f"the image encoder projects to {channels} channels, the UNet's context has {needed}")
    pose, background = (
        ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=pose_embedding) for _ in range(2)
    )
    model = DisCo(unet, pose, background_controlnet(background), clip_image_encoder, vae)
    embedding = model.controlnet.get_submodule("nets.1.controlnet_cond_embedding.conv_in")
    embedding.load_state_dict(unet.conv_in.state_dict())
    model.refer_clip_proj.load_state_dict(clip_image_encoder.visual_projection.state_dict())
    return model
