"""DisCo's networks (section 1): a UNet under two ControlNets, one for the pose and one for the background, and the
tokens of CLIP's image encoder where Stable Diffusion has a text.

Dimensions: B frames, C latent channels, H×W pixels, h×w latent cells, T tokens, E context channels.
"""

import torch
from diffusers import AutoencoderKL, ControlNetModel, MultiControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from src.baselines.disco.settings import Unconditional
from src.models.image_model import finite, full_precision


class BackgroundEmbedding(nn.Module):
    """What a background ControlNet has in place of the convolutions that shrink a picture: its condition is latents."""

    def __init__(self, latent_channels: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent_channels, channels, 3, padding=1)

    def forward(self, latents_BChw: Tensor) -> Tensor:
        return self.conv_in(latents_BChw)


def background_controlnet(controlnet: ControlNetModel) -> ControlNetModel:
    """Give a ControlNet the background's embedding; returns the same, changed."""
    config = controlnet.config
    embedding = BackgroundEmbedding(config["in_channels"], config["block_out_channels"][0])
    controlnet.register_module("controlnet_cond_embedding", embedding)
    return controlnet


class DisCo(nn.Module):
    """ε_θ of single frames. The names of its weights are those of the public checkpoints.

    Args:
        unet: the image model's.
        pose_controlnet, background_controlnet: the latter from the function of that name.
        clip_image_encoder: the vision tower.
        vae: encodes the background, decodes the frames.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        pose_controlnet: ControlNetModel,
        background_controlnet: ControlNetModel,
        clip_image_encoder: CLIPVisionModelWithProjection,
        vae: AutoencoderKL,
    ) -> None:
        super().__init__()
        self.unet, self.vae, self.clip_image_encoder = unet, vae, clip_image_encoder
        self.controlnet = MultiControlNetModel([pose_controlnet, background_controlnet])
        channels = clip_image_encoder.config.hidden_size
        self.refer_clip_proj = nn.Linear(channels, unet.config["cross_attention_dim"], bias=False)
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.conv_in.weight.dtype

    @property
    def foreground_size(self) -> int:
        """Side in pixels of the picture that CLIP sees."""
        side = self.clip_image_encoder.config.image_size
        assert isinstance(side, int), "CLIP sees squares"
        return side

    def context(self, foreground_B3HW: Tensor) -> Tensor:
        """All tokens of the foreground, class and patches, projected: (B, T, E) (section 2.5).

        Args:
            foreground_B3HW: normalised with CLIP's mean and deviation, then zero outside the person.
        """
        tower = self.clip_image_encoder.vision_model
        with full_precision(self.device):
            tokens_BTC = tower(pixel_values=foreground_B3HW.to(tower.dtype)).last_hidden_state
            # transformers applies this norm to the class token alone, and only on the way to the pooled output.
            tokens_BTC = tower.post_layernorm(tokens_BTC)
        return self.refer_clip_proj(tokens_BTC.to(self.refer_clip_proj.weight.dtype))

    def unconditional_context(self, kind: Unconditional) -> Tensor:
        """The context (1, T, E) of the unconditional half (section 2.6)."""
        size = self.foreground_size
        context = self.context(torch.zeros(1, 3, size, size, device=self.device))
        return torch.zeros_like(context) if kind == "zeros" else context

    def encode(self, images_B3HW: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """Scaled latents (B, C, h, w) of pictures: of the background, whose person is grey (section 2.4), and in a
        fine-tune of the frames.

        Args:
            images_B3HW: in [-1, 1].
            generator: of the posterior's sample, on the CPU; None: the posterior's mean.
        """
        images_B3HW = images_B3HW.to(self.vae.device, self.vae.dtype)
        with full_precision(self.vae.device):
            posterior = self.vae.encode(images_B3HW, return_dict=False)[0]
        latents = posterior.mean
        if generator is not None:
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            latents = latents + posterior.std * noise
        return latents * self.vae.config["scaling_factor"]

    def control(
        self, latents_BChw: Tensor, timestep: Tensor, context_BTE: Tensor, pose_B3HW: Tensor, background_BChw: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The residuals of both ControlNets, added to each other: one for each skip connection, and the middle's."""
        return self.controlnet(
            latents_BChw,
            timestep,
            encoder_hidden_states=context_BTE,
            controlnet_cond=[pose_B3HW, background_BChw],
            conditioning_scale=[1.0, 1.0],
            return_dict=False,
        )

    def forward(
        self, latents_BChw: Tensor, timestep: Tensor, context_BTE: Tensor, pose_B3HW: Tensor, background_BChw: Tensor
    ) -> Tensor:
        """Predict the noise.

        Args:
            latents_BChw: noisy latents.
            timestep: one for all (scalar) or one a frame (B,).
            context_BTE: of the reference's foreground.
            pose_B3HW: drawn skeletons in [0, 1].
            background_BChw: scaled latents of the reference's background.
        """
        down, mid = self.control(latents_BChw, timestep, context_BTE, pose_B3HW, background_BChw)
        return self.unet(
            latents_BChw,
            timestep,
            encoder_hidden_states=context_BTE,
            down_block_additional_residuals=tuple(down),
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]

    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] of scaled latents.

        Raises:
            UserError: they are not finite.
        """
        latents = (latents_BChw / self.vae.config["scaling_factor"]).to(self.vae.dtype)
        with full_precision(self.vae.device):
            decoded = finite(self.vae.decode(latents, return_dict=False)[0], guidance="method.guidance_scale")
            return (decoded / 2 + 0.5).clamp(0, 1)
