"""The video backbone (Sec. 3): Stable Diffusion's UNet and its pose ControlNet, frames folded into the batch axis.

Dimensions: B clips, F frames, C channels, H×W pixels of the pose image, h×w latent cells, T text tokens.
"""

import contextlib
from collections.abc import Iterator

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from src.models.attention import KeyFrameAttnProcessor, TemporalAttention, TextAttnProcessor
from src.models.hooks import install_hooks
from src.models.layout import ClipLayout

GROUP_NORMS = ("clip", "frame")


class VideoBackbone(nn.Module):
    """ε_θ(Z_t, t, Q, p) of Eq. 3: predicts the noise of every frame of a clip.

    Takes ownership of the two image models: they are frozen but for the parts that the method trains, and their
    attention processors are replaced. At initialisation, with one frame, the output is the image model's.

    Args:
        unet: Stable Diffusion's UNet, or one of the same structure.
        controlnet: its pose ControlNet.
        group_norm: `clip`: statistics of the norms outside transformer blocks are taken over all frames of a clip,
            as in the public ControlVideo model; `frame`: over each frame alone.
        conditioning_scale: factor on the ControlNet's residuals.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel,
        *,
        group_norm: str = "clip",
        conditioning_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if group_norm not in GROUP_NORMS:
            raise ValueError(f"group_norm must be one of {GROUP_NORMS}, got {group_norm!r}")
        self.unet, self.controlnet = unet, controlnet
        self.conditioning_scale = conditioning_scale
        self.layout = ClipLayout()
        self.requires_grad_(False)
        self._reused = []
        for network, has_temporal in ((unet, True), (controlnet, False)):
            self._install_attention(network, has_temporal)
            self._reused += install_hooks(network, self.layout, clip_group_norm=group_norm == "clip")

    def _install_attention(self, network: nn.Module, has_temporal: bool) -> None:
        for name, block in network.named_modules():
            if not isinstance(block, BasicTransformerBlock):
                continue
            temporal = None
            if has_temporal and not name.startswith("mid_block"):
                temporal = TemporalAttention(block.attn1, self.layout).requires_grad_(True)
            block.attn1.set_processor(KeyFrameAttnProcessor(self.layout, temporal))
            block.attn2.set_processor(TextAttnProcessor(self.layout))
            block.attn1.to_out.requires_grad_(True)

    def forward(self, latents_BFChw: Tensor, timestep: Tensor | int, poses_BFCHW: Tensor, text_BTC: Tensor) -> Tensor:
        """Predict the noise in `latents_BFChw`.

        Args:
            latents_BFChw: noised latents Z_t.
            timestep: t in [0, 1000), one for all clips (scalar) or one a clip (B,).
            poses_BFCHW: RGB pose images in [0, 1].
            text_BTC: encoded prompt of each clip.

        Returns:
            Predicted noise of the shape of `latents_BFChw`.

        Raises:
            ValueError: the numbers of clips or frames of the inputs differ.
        """
        num_clips, num_frames = latents_BFChw.shape[:2]
        if poses_BFCHW.shape[:2] != (num_clips, num_frames) or len(text_BTC) != num_clips:
            raise ValueError(
                f"latents {tuple(latents_BFChw.shape[:2])}, poses {tuple(poses_BFCHW.shape[:2])} and prompts "
                f"({len(text_BTC)}) must agree in clips (and frames)"
            )
        self.layout.num_frames = num_frames
        sample = latents_BFChw.flatten(0, 1)
        timestep = torch.as_tensor(timestep, device=sample.device).expand(num_clips).repeat_interleave(num_frames)
        down, mid = self.controlnet(
            sample,
            timestep,
            encoder_hidden_states=text_BTC,
            controlnet_cond=poses_BFCHW.flatten(0, 1),
            conditioning_scale=self.conditioning_scale,
            return_dict=False,
        )
        noise = self.unet(
            sample,
            timestep,
            encoder_hidden_states=text_BTC,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        return noise.unflatten(0, (num_clips, num_frames))

    def trainable_state(self) -> dict[str, Tensor]:
        """What the method trains (`method.md` §1), by the name of the parameter in this module."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def num_trainable(self) -> int:
        """Number of trained parameters; 72,130,240 with Stable Diffusion 1.5's sizes."""
        return sum(parameter.numel() for parameter in self.trainable_state().values())

    @contextlib.contextmanager
    def chunked(self, frame_chunk: int | None) -> Iterator[None]:
        """Within the block, pass at most `frame_chunk` frames through a layer at once; drop reused outputs at the end.

        For inference only: memory then grows with F by the activations between layers alone.
        """
        self.layout.frame_chunk = frame_chunk
        try:
            yield
        finally:
            self.layout.frame_chunk = None
            self.clear_reused()

    def clear_reused(self) -> None:
        """Forget pose embeddings and text keys and values kept from earlier calls."""
        for hook in self._reused:
            hook.clear()
