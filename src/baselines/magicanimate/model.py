"""MagicAnimate's networks joined: ε_θ of a window of frames, from reference, conditions and text.

Dimensions: B clips, F frames, C channels, H×W pixels of the condition, h×w latent cells, T text tokens, E text
channels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from diffusers import ControlNetModel, UNetMotionModel
from torch import Tensor, nn

from src.baselines.magicanimate.motion import install_chunks, install_norms
from src.baselines.magicanimate.reference_attention import AppearanceEncoder, Bank, install_readers
from src.baselines.magicanimate.settings import NetworkSettings
from src.models.layout import ClipLayout


@dataclass(frozen=True)
class Residuals:
    """What the ControlNet adds to the UNet.

    Attributes:
        down: (B, F, C, h, w) for each skip connection.
        mid: (B, F, C, h, w).
    """

    down: tuple[Tensor, ...]
    mid: Tensor

    def of_frames(self, frames: Sequence[int]) -> "Residuals":
        """Those of some frames, in the order given."""
        return Residuals(tuple(skip[:, list(frames)] for skip in self.down), self.mid[:, list(frames)])


class MagicAnimate(nn.Module):
    """The video UNet, the appearance encoder and the DensePose ControlNet.

    Takes ownership of the networks: attention processors and norms of the UNet are replaced.
    """

    def __init__(
        self,
        unet: UNetMotionModel,
        appearance_encoder: AppearanceEncoder,
        controlnet: ControlNetModel,
        *,
        settings: NetworkSettings,
    ) -> None:
        super().__init__()
        self.unet, self.appearance_encoder, self.controlnet = unet, appearance_encoder, controlnet
        self.settings = settings
        self.layout = ClipLayout()
        self._opened = install_readers(unet, self.layout)
        install_norms(unet, self.layout, settings)
        install_chunks(unet, self.layout)

    @property
    def device(self) -> torch.device:
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.conv_in.weight.dtype

    @property
    def max_positions(self) -> int:
        """Frames that a window can have."""
        return self.unet.config["motion_max_seq_length"]

    def write_bank(self, reference_BChw: Tensor, timestep: int, text_BTE: Tensor) -> Bank:
        """Tokens of the clean reference at a timestep, in the precision that the settings name."""
        bank = self.appearance_encoder(reference_BChw, timestep, text_BTE)
        if self.settings.bank_dtype == "float16":
            return {name: tokens.half() for name, tokens in bank.items()}
        return bank

    def control(self, latents_BCFhw: Tensor, timestep: int, condition_BF3HW: Tensor, text_BTE: Tensor) -> Residuals:
        """The ControlNet's residuals of every frame, each made from that frame alone, `frame_chunk` at a time.

        Args:
            latents_BCFhw: noisy latents.
            condition_BF3HW: RGB DensePose renderings in [0, 1].
            text_BTE: the conditional text, whichever half the residuals are added to.
        """
        num_clips, _, num_frames = latents_BCFhw.shape[:3]
        parts: list[tuple[Tensor, ...]] = []
        for frames in self.layout.chunks(num_frames, elements=condition_BF3HW[:, 0].numel()):
            latents_XChw = latents_BCFhw[:, :, frames].transpose(1, 2).flatten(0, 1)
            down, mid = self.controlnet(
                latents_XChw,
                timestep,
                encoder_hidden_states=text_BTE.repeat_interleave(len(latents_XChw) // num_clips, 0),
                controlnet_cond=condition_BF3HW[:, frames].flatten(0, 1),
                conditioning_scale=self.settings.conditioning_scale,
                return_dict=False,
            )
            parts.append(tuple(skip.unflatten(0, (num_clips, -1)) for skip in (*down, mid)))
        joined = [torch.cat(skips, 1) for skips in zip(*parts, strict=True)]
        return Residuals(tuple(joined[:-1]), joined[-1])

    def forward(
        self,
        latents_BCFhw: Tensor,
        timestep: int,
        text_BTE: Tensor,
        *,
        bank: Bank | None = None,
        residuals: Residuals | None = None,
    ) -> Tensor:
        """Predict the noise of one window of frames, one half of classifier-free guidance.

        Args:
            latents_BCFhw: noisy latents; the motion modules count positions from the window's first frame.
            timestep: t in [0, 1000).
            text_BTE: the half's text.
            bank: what every frame attends to beside itself; None: nothing.
            residuals: of the window's frames; None: none are added.

        Returns:
            Predicted noise (B, C, F, h, w).
        """
        num_frames = latents_BCFhw.shape[2]
        self.layout.num_frames = num_frames
        self._opened.bank = bank
        added = {}
        if residuals is not None:
            added = {
                "down_block_additional_residuals": tuple(skip.flatten(0, 1) for skip in residuals.down),
                "mid_block_additional_residual": residuals.mid.flatten(0, 1),
            }
        try:
            return self.unet(
                latents_BCFhw,
                timestep,
                encoder_hidden_states=text_BTE.repeat_interleave(num_frames, 0),
                return_dict=False,
                **added,
            )[0]
        finally:
            self._opened.bank = None

    def predict_halves(
        self,
        latents_BCFhw: Tensor,
        timestep: int,
        text_uncond_BTE: Tensor,
        text_cond_BTE: Tensor,
        *,
        bank: Bank,
        residuals: Residuals,
    ) -> tuple[Tensor, Tensor]:
        """Noise of a window without and with the condition: the former does not see the reference, both the poses."""
        bank_uncond = bank if self.settings.reference_read_by == "both" else None
        uncond = self(latents_BCFhw, timestep, text_uncond_BTE, bank=bank_uncond, residuals=residuals)
        return uncond, self(latents_BCFhw, timestep, text_cond_BTE, bank=bank, residuals=residuals)

    @contextlib.contextmanager
    def chunked(self, frame_chunk: int | None) -> Iterator[None]:
        """Within the block, pass at most `frame_chunk` frames through a layer at once; for inference only."""
        self.layout.frame_chunk = frame_chunk
        try:
            yield
        finally:
            self.layout.frame_chunk = None
