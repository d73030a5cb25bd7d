"""The video backbone (Sec. 3): Stable Diffusion's UNet and its pose ControlNet, frames folded into the batch axis.

Dimensions: B clips, F frames, C channels, H×W pixels of the pose image, h×w latent cells, T text tokens,
E text channels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from src.models.attention import (
    KeyFrameAttnProcessor,
    TemporalAttention,
    TextAttnProcessor,
    output_layers,
    set_processor,
    text_keys_values,
)
from src.models.compiled import CompiledForwards
from src.models.conditioning import Conditioning, Control
from src.models.hooks import GivenEmbedding, install_given_embedding, install_hooks, install_kept_outputs
from src.models.layout import ClipLayout, KeptFeatures

GROUP_NORMS = ("clip", "frame")
POSE_IMAGES_AT_ONCE = 2  # at 512 pixels one takes 17 MB for each of the embedding's first layers


class VideoBackbone(nn.Module):
    """ε_θ(Z_t, t, Q, p) of Eq. 3: predicts the noise of every frame of a clip.

    Takes ownership of the two image models: they are frozen but for the parts that the method trains, and their
    attention processors are replaced. At initialisation, with one frame, the output is the image model's.

    Args:
        unet: Stable Diffusion's UNet, or one of the same structure.
        controlnet: its pose ControlNet.
        beside: other ControlNets, whose residuals are added. They see key frame and norms as the pose's does, and
            nothing of them is trained.
        scales: of each of these, the factor on its residuals where `controls` is given none.
        group_norm: `clip`: statistics of the norms outside transformer blocks are taken over all frames of a clip,
            as in the public ControlVideo model; `frame`: over each frame alone.
        conditioning_scale: factor on the ControlNet's residuals, where a `Conditioning` has none of its own.
        compiled: layers that repeat run compiled (`src/models/compiled.py`); None: none do.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel,
        *,
        beside: Sequence[ControlNetModel] = (),
        scales: Sequence[float] = (),
        group_norm: str = "clip",
        conditioning_scale: float = 1.0,
        compiled: CompiledForwards | None = None,
    ) -> None:
        super().__init__()
        if group_norm not in GROUP_NORMS:
            raise ValueError(f"group_norm must be one of {GROUP_NORMS}, got {group_norm!r}")
        if len(scales) != len(beside):
            raise ValueError(f"{len(beside)} ControlNets beside the pose one need as many scales, got {len(scales)}")
        self.unet, self.controlnet = unet, controlnet
        self.beside, self.scales = nn.ModuleList(beside), tuple(scales)
        self.conditioning_scale = conditioning_scale
        self.layout = ClipLayout()
        self.requires_grad_(False)
        install_kept_outputs(unet, self.layout)
        self._embeddings = install_given_embedding(controlnet)
        self.compiled = compiled
        self._beside_embeddings = [install_given_embedding(net) for net in beside]
        for network in (unet, controlnet, *beside):
            self._install_attention(network, has_temporal=network is unet, trained=network in (unet, controlnet))
            install_hooks(network, self.layout, clip_group_norm=group_norm == "clip", compiled=compiled)

        blocks = [block for block in self.modules() if isinstance(block, BasicTransformerBlock)]
        self._text_attentions: list[Attention] = [block.attn2 for block in blocks if block.attn2 is not None]

    def _install_attention(self, network: nn.Module, *, has_temporal: bool, trained: bool) -> None:
        for name, block in network.named_modules():
            if not isinstance(block, BasicTransformerBlock):
                continue
            temporal = None
            if has_temporal and not name.startswith("mid_block"):
                temporal = TemporalAttention(block.attn1, self.layout).requires_grad_(True)
            set_processor(block.attn1, KeyFrameAttnProcessor(self.layout, temporal))
            set_processor(block.attn2, TextAttnProcessor(self.layout))
            output_layers(block.attn1).requires_grad_(trained)

    @torch.no_grad()
    def prepare(
        self, poses_BFCHW: Tensor, *texts_BTE: Tensor, conditions: Sequence[Tensor | None] = ()
    ) -> Conditioning:
        """All that an evaluation needs of poses and prompts and that no timestep changes; none of it is trained.

        Args:
            poses_BFCHW: RGB pose images, uint8, or floating point in [0, 1].
            texts_BTE: encoded prompts; several share latents and poses, as the branches of guidance do.
            conditions: images (B, F, 3, H, W) of each ControlNet beside the pose one; None: it rests.
        """
        poses_BFChw = self.embed_poses(poses_BFCHW.flatten(0, 1)).unflatten(0, poses_BFCHW.shape[:2])
        embedded = [
            None if images is None else self.embed_control(n, images.flatten(0, 1)).unflatten(0, images.shape[:2])
            for n, images in enumerate(conditions)
        ]
        return self.condition(poses_BFChw, *texts_BTE, controls=self.controls(embedded))

    @torch.no_grad()
    def embed_poses(self, poses_XCHW: Tensor) -> Tensor:
        """The ControlNet's embedding of pose images (uint8, or floating point in [0, 1]), a few at a time."""
        return _embed(self.controlnet, self._embeddings, poses_XCHW)

    @torch.no_grad()
    def embed_control(self, number: int, images_XCHW: Tensor) -> Tensor:
        """The same of condition images, by one of the ControlNets beside the pose one."""
        return _embed(cast(ControlNetModel, self.beside[number]), self._beside_embeddings[number], images_XCHW)

    def controls(self, embedded: Sequence[Tensor | None], scales: Sequence[float] | None = None) -> list[Control]:
        """Of the ControlNets beside the pose one those that take part.

        Args:
            embedded: (B, F, C, h, w) of each; None: there are no images for it, and it must rest.
            scales: of each; None: the backbone's own.

        Raises:
            ValueError: one that takes part has no images.
        """
        scales = self.scales if scales is None else scales
        if len(embedded) != len(self.beside) or any(e is None and s for e, s in zip(embedded, scales, strict=True)):
            raise ValueError(f"ControlNets of scales {list(scales)} were not all given condition images")
        pairs = enumerate(zip(embedded, scales, strict=True))
        return [Control(number, images, scale) for number, (images, scale) in pairs if images is not None and scale]

    @torch.no_grad()
    def condition(
        self, pose_embedding_BFChw: Tensor, *texts_BTE: Tensor, controls: Sequence[Control] = ()
    ) -> Conditioning:
        """`prepare` with poses that are embedded already."""
        text_XTE = torch.cat(texts_BTE)
        keys_values = [text_keys_values(attn, text_XTE) for attn in self._text_attentions]
        return Conditioning(pose_embedding_BFChw, text_XTE, keys_values, len(texts_BTE), controls=controls)

    def forward(
        self,
        latents_BFChw: Tensor,
        timestep: Tensor | int,
        conditioning: Conditioning,
        *,
        kept: KeptFeatures | None = None,
    ) -> Tensor:
        """Predict the noise in `latents_BFChw`.

        Args:
            latents_BFChw: noised latents Z_t.
            timestep: t in [0, 1000), one for all clips (scalar) or one a clip (B,).
            conditioning: poses and prompts, of `prepare`.
            kept: features of an earlier timestep to take over, or where to leave this one's; an approximation, for
                inference alone.

        Returns:
            Predicted noise of the shape of `latents_BFChw`; of P > 1 prompts (P·B, F, C, h, w). What precedes the first
            attention to text is then computed once for all of them.

        Raises:
            ValueError: the numbers of clips or frames of the inputs differ.
        """
        num_clips, num_frames = latents_BFChw.shape[:2]
        num_prompts = conditioning.num_prompts
        poses_BFChw = conditioning.pose_embedding_BFChw
        if poses_BFChw.shape[:2] != (num_clips, num_frames) or len(conditioning.text_XTE) != num_prompts * num_clips:
            raise ValueError(
                f"latents {tuple(latents_BFChw.shape[:2])}, poses {tuple(poses_BFChw.shape[:2])} and prompts "
                f"({len(conditioning.text_XTE)}) must agree in clips (and frames)"
            )
        self.layout.num_frames, self.layout.num_prompts = num_frames, num_prompts
        for attn, keys_values in zip(self._text_attentions, conditioning.keys_values, strict=True):
            cast(TextAttnProcessor, attn.processor).keys_values = keys_values
        self.layout.kept = kept
        sample = _repeat(latents_BFChw.flatten(0, 1), num_prompts)
        timestep = torch.as_tensor(timestep, device=sample.device).expand(num_clips).repeat_interleave(num_frames)
        inputs = {"timestep": timestep.repeat(num_prompts), "encoder_hidden_states": conditioning.text_XTE}
        scale = self.conditioning_scale if conditioning.scale is None else conditioning.scale
        poses = _repeat(poses_BFChw.flatten(0, 1), num_prompts)
        controls = [replace(c, embedding_BFChw=_repeat(c.embedding_BFChw, num_prompts)) for c in conditioning.controls]
        down, mid = self._residuals(sample, inputs, poses, scale, controls, kept)
        noise = self.unet(
            sample,
            **inputs,
            # Handed over one by one, each is let go of as soon as it is added.
            down_block_additional_residuals=(down.pop(0) for _ in range(len(down))),
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        self.layout.kept = None
        return noise.unflatten(0, (num_prompts * num_clips, num_frames))

    def in_turn(
        self,
        latents_BFChw: Tensor,
        timestep: int,
        conditionings: Sequence[Conditioning],
        kept: Sequence[KeptFeatures] | None = None,
    ) -> list[Tensor]:
        """Noise for each of two prompts, one after the other: half the memory of one batch for the same operations.

        Args:
            latents_BFChw, timestep: as of `forward`.
            conditionings: of the same poses, with one prompt each; a lone one may have several.
            kept: of each, as of `forward`.
        """
        self.layout.shared = {} if len(conditionings) > 1 else None
        try:
            pairs = zip(conditionings, kept or [None] * len(conditionings), strict=True)
            return [self(latents_BFChw, timestep, one, kept=features) for one, features in pairs]
        finally:
            self.layout.shared = None

    def _residuals(
        self,
        sample: Tensor,
        inputs: dict[str, Tensor],
        poses: Tensor,
        scale: float,
        controls: Sequence[Control],
        kept: KeptFeatures | None,
    ) -> tuple[list[Tensor], Tensor]:
        """The sum over all ControlNets, each by its scale, as of diffusers' MultiControlNetModel."""
        if kept is not None and kept.reuse:
            down, mid = kept.outputs["controlnet"]
            return list(down), mid
        down, mid = self.controlnet(
            sample,
            **inputs,
            controlnet_cond=poses,
            conditioning_scale=scale,
            return_dict=False,
        )
        for control in controls:
            more, more_mid = self.beside[control.number](
                sample,
                **inputs,
                controlnet_cond=control.embedding_BFChw.flatten(0, 1),
                conditioning_scale=control.scale,
                return_dict=False,
            )
            down, mid = [residual + more.pop(0) for residual in down], mid + more_mid
        if kept is not None:
            kept.outputs["controlnet"] = tuple(down), mid
        return down, mid

    @property
    def device(self) -> torch.device:
        """Where it computes, which of offloaded weights is not where they lie."""
        return self.unet.device

    def trainable_state(self) -> dict[str, Tensor]:
        """What the method trains (`ARCHITECTURE.md`), by the name of the parameter in this module."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def num_trainable(self) -> int:
        """Number of trained parameters; 72,130,240 with Stable Diffusion 1.5's sizes."""
        return sum(parameter.numel() for parameter in self.trainable_state().values())

    @contextlib.contextmanager
    def chunked(self, frame_chunk: int | None = None, *, tile_elements: int | None = None) -> Iterator[None]:
        """Within the block, hold at most so much inside of a layer at once.

        Args:
            frame_chunk: frames that pass through a layer at once; None: as many as `tile_elements` allows.
            tile_elements: about so many numbers between the steps of one layer; None: no limit. `plan_chunks` of
                `src/models/chunking.py` chooses it by the memory that is free.
        """
        before = self.layout.frame_chunk, self.layout.tile_elements
        self.layout.frame_chunk, self.layout.tile_elements = frame_chunk, tile_elements
        try:
            yield
        finally:
            self.layout.frame_chunk, self.layout.tile_elements = before


def _embed(controlnet: ControlNetModel, embedding: GivenEmbedding, images_XCHW: Tensor) -> Tensor:
    weight = controlnet.controlnet_cond_embedding.conv_in.weight
    if weight.device != images_XCHW.device:
        # Nothing but the first evaluation would bring it to where it computes (`src/models/offload.py`).
        weight = controlnet.controlnet_cond_embedding.to(images_XCHW.device).conv_in.weight
    parts = []
    for images in images_XCHW.split(POSE_IMAGES_AT_ONCE):
        unit = images.to(weight.dtype) / 255 if images.dtype == torch.uint8 else images.to(weight.dtype)
        parts.append(embedding.embed(unit))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _repeat(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else torch.cat([x] * times)
