"""The image model that everything stands on: VAE, text encoder, UNet and pose ControlNet in the libraries' own classes.

Dimensions: F frames, C latent channels, H×W pixels, h×w latent cells, T text tokens, E text channels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    UNet2DConditionModel,
)
from diffusers.loaders import TextualInversionLoaderMixin
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import EncoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizer

from src.common.errors import UserError
from src.common.once import say_once
from src.models.settings import Offload

log = logging.getLogger(__name__)
ENCODE_CHUNK = 2  # frames that the VAE encodes at a time: at 512 pixels each takes 0.6 GiB

Vae = AutoencoderKL | AutoencoderTiny | AutoencoderDC


@dataclass(kw_only=True)
class TextToImage:
    """Stable Diffusion, or a model of the same structure.

    Attributes:
        base: what the weights are called: folder, hub id or file; an adapter remembers it.
        clip_skip: last layers of the text encoder that are left out.
        additions: what was put on the base, LoRAs and words, as plain values; an adapter remembers it too.
    """

    base: str
    vae: Vae
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler
    clip_skip: int = 0
    additions: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for network in self.networks.values():
            network.eval().requires_grad_(False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The modules that hold weights, by name."""
        return {name: getattr(self, name) for name in ("vae", "text_encoder", "unet")}

    @property
    def downsampling(self) -> int:
        """Pixels to a latent cell, along one axis."""
        return vae_downsampling(self.vae)

    def check_resolution(self, resolution: int, longer: int | None = None) -> None:
        """Raise a UserError where the UNet's levels cannot halve the latent of an image evenly.

        Args:
            resolution: the shorter side in pixels.
            longer: the other; None: the same.
        """
        check_sides(resolution_multiple(self.vae, self.unet), resolution, longer)

    def move_encoders(self, device: torch.device) -> None:
        """Bring the VAE and the text encoder to a device."""
        for encoder in (self.vae, self.text_encoder):
            cast(nn.Module, encoder).to(device)

    @torch.no_grad()
    def encode_frames(self, frames_FHWC: np.ndarray, *, chunk: int = ENCODE_CHUNK) -> Tensor:
        """Z_0 = E(X): uint8 RGB frames to scaled latents (F, C, h, w), the mode of the posterior, `chunk` at a time."""
        parts = []
        for start in range(0, len(frames_FHWC), chunk):
            images = to_unit_range(frames_FHWC[start : start + chunk]).to(self.vae.device, self.vae.dtype)
            with full_precision(self.vae.device):
                latents = mode_of(self.vae.encode(images * 2 - 1))
            parts.append(latents.float() * self.vae.config["scaling_factor"])
        return torch.cat(parts)

    @torch.no_grad()
    def decode_latents(self, latents_FChw: Tensor) -> np.ndarray:
        """D(Z_0): scaled latents to uint8 RGB frames (F, H, W, 3).

        Raises:
            UserError: as of `finite`.
        """
        latents = (latents_FChw / self.vae.config["scaling_factor"]).to(self.vae.device, self.vae.dtype)
        with full_precision(self.vae.device):
            images = finite(self.vae.decode(latents, return_dict=False)[0].float())
        return ((images / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> Tensor:
        """The prompt's text embedding (1, T, E); what does not fit into T tokens is cut, with one warning naming it."""
        # A tokenizer whose folder holds its vocabulary alone knows no end.
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        # A textual inversion of several vectors is several words to the tokenizer.
        tokenizer = cast(PreTrainedTokenizer, self.tokenizer)
        prompt = cast(str, TextualInversionLoaderMixin().maybe_convert_prompt(prompt, tokenizer))
        whole = self.tokenizer(prompt).input_ids
        if len(whole) > length:
            cut = cast(str, self.tokenizer.decode(whole[length - 1 : -1], skip_special_tokens=True))
            said = f"the prompt is longer than {length} tokens; cut from its end: {cut.strip()!r}"
            say_once(log, logging.WARNING, said)
        tokens = self.tokenizer(
            prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        with full_precision(self.text_encoder.device):
            encoded = self.text_encoder(tokens.to(self.text_encoder.device), output_hidden_states=self.clip_skip > 0)
            if not self.clip_skip:
                return encoded[0].float()
            # The text model is flat in newer versions of the library and wrapped in older ones.
            text_model = getattr(self.text_encoder, "text_model", self.text_encoder)
            return text_model.final_layer_norm(encoded.hidden_states[-1 - self.clip_skip]).float()


@dataclass(kw_only=True)
class ImageModel(TextToImage):
    """The same with its pose ControlNet.

    Attributes:
        beside: ControlNets beside the pose one.
        offload: whether weights wait in the machine's memory while it samples (`src/models/offload.py`).
    """

    controlnet: ControlNetModel
    beside: Sequence[ControlNetModel] = ()
    offload: Offload = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for controlnet in (self.controlnet, *self.beside):
            stride = 2 ** (len(controlnet.config["conditioning_embedding_out_channels"]) - 1)
            if stride != self.downsampling:
                raise UserError(
                    f"{self.base}: the VAE shrinks images {self.downsampling} times but the ControlNet's pose "
                    f"embedding {stride} times: they do not belong together"
                )
            cast(nn.Module, controlnet).eval().requires_grad_(False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """As of `TextToImage`."""
        return {**super().networks, "controlnet": self.controlnet}


def vae_downsampling(vae: Vae) -> int:
    """Pixels to a latent cell, along one axis, of any of the library's VAEs."""
    levels = vae.config.get("encoder_block_out_channels") or vae.config["block_out_channels"]
    return 2 ** (len(levels) - 1)


def mode_of(encoded: object) -> Tensor:
    """The latents (B, C, h, w), not yet scaled, in what the encoder of any of the library's VAEs returns."""
    if isinstance(encoded, AutoencoderKLOutput):
        return encoded.latent_dist.mode()
    if isinstance(encoded, AutoencoderTinyOutput):
        return encoded.latents
    assert isinstance(encoded, EncoderOutput)
    return encoded.latent


def finite(images: Tensor, *, guidance: str = "sampling.guidance_scale") -> Tensor:
    """Decoded images, unchanged.

    Args:
        guidance: the setting of its scale, for the message.

    Raises:
        UserError: they hold a value that is not finite, which a picture would show as black without a word.
    """
    if not images.isfinite().all():
        raise UserError(
            "the generated frames hold values that are not finite: sampling overflowed; give a lower "
            f"{guidance}, trainer.precision=32-true or, where the weights are float16, model.dtype=float32"
        )
    return images


def full_precision(device: torch.device) -> torch.autocast:
    """Encoders run once a clip: half precision would save nothing and cost eight-bit steps in the picture."""
    return torch.autocast(device.type, enabled=False)


def to_unit_range(frames_FHWC: np.ndarray) -> Tensor:
    """uint8 images (F, H, W, 3) to a float tensor (F, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames_FHWC)).permute(0, 3, 1, 2).float() / 255


def resolution_multiple(vae: Vae, unet: UNet2DConditionModel) -> int:
    """Pixels that divide each side of an image whose latent the UNet's levels can halve evenly."""
    return vae_downsampling(vae) * 2 ** (len(unet.config["block_out_channels"]) - 1)


def check_sides(multiple: int, resolution: int, longer: int | None = None) -> None:
    """Raise a UserError where a side in pixels is no multiple; see `ImageModel.check_resolution`."""
    if resolution <= 0 or resolution % multiple:
        raise UserError(f"data.resolution={resolution} does not suit this model: use a multiple of {multiple}")
    if longer is not None and longer % multiple:
        raise UserError(
            f"frames of {resolution}x{longer} pixels do not suit this model: prepare them with data.aspect=square, "
            f"or with a longer side that is a multiple of {multiple}"
        )
