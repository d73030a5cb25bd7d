"""Reference attention (section 1.4): the appearance encoder writes a bank of tokens, attention processors read it.

Dimensions: B clips, F frames, C channels, N heads, D channels a head, L tokens of a layer, h×w latent cells, T text
tokens.
"""

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_blocks import CrossAttnUpBlock2D
from torch import Tensor, nn

from src.models.attention import key_value_layers, output_layers, set_processor, split_heads
from src.models.layout import ClipLayout

Bank = dict[str, Tensor]
"""n_r: the reference's normalised tokens (B, L, C) before the self-attention of each block, by the block's name."""


@dataclass
class OpenBank:
    """The bank that the processors of a UNet read during one evaluation; None: plain self-attention."""

    bank: Bank | None = None


class ReferenceAttnProcessor:
    """Self-attention in which every frame also attends to the reference's tokens of the block of the same name.

    Keys and values of the reference come from the UNet's own projections, once a clip.

    Args:
        block: name of the transformer block.
        layout: how frames lie in the batch axis.
        opened: the bank.
    """

    def __init__(self, block: str, layout: ClipLayout, opened: OpenBank) -> None:
        self.block, self.layout, self.opened = block, layout, opened

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Map normalised hidden states (B·F, L, C) to the residual of the same shape."""
        assert encoder_hidden_states is None and attention_mask is None, "reference attention is self-attention"
        reference_BLC = None if self.opened.bank is None else self.opened.bank[self.block].to(hidden_states.dtype)
        own = hidden_states
        q_XNLD = split_heads(attn.to_q(own), attn.heads)
        k_XNLD, v_XNLD = (
            split_heads(_joined(to, own, reference_BLC, self.layout.num_frames), attn.heads)
            for to in key_value_layers(attn)
        )
        out_XNLD = F.scaled_dot_product_attention(q_XNLD, k_XNLD, v_XNLD, scale=attn.scale)
        outputs = output_layers(attn)
        return outputs[1](outputs[0](out_XNLD.transpose(1, 2).flatten(2)))


def _keep(bank: Bank, name: str, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    bank[name] = output


def _joined(project: nn.Linear, own_XLC: Tensor, reference_BLC: Tensor | None, num_frames: int) -> Tensor:
    """Projected tokens of each frame, behind them those of its clip's reference."""
    if reference_BLC is None:
        return project(own_XLC)
    return torch.cat([project(own_XLC), project(reference_BLC).repeat_interleave(num_frames, 0)], 1)


class LastBlock(nn.Module):
    """What the appearance encoder keeps of its last transformer block: the norm whose output goes to the bank."""

    def __init__(self, block: BasicTransformerBlock) -> None:
        super().__init__()
        self.norm1 = block.norm1

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: Tensor | None = None,
        cross_attention_kwargs: dict | None = None,
        class_labels: Tensor | None = None,
    ) -> Tensor:
        """The signature is BasicTransformerBlock's; what comes after the norm is not used by anything."""
        self.norm1(hidden_states)
        return hidden_states


class AppearanceEncoder(nn.Module):
    """An image UNet that is run on the clean reference for the tokens of its mid and up blocks.

    Its last block ends at its first norm: what would follow does not exist in the checkpoint.

    Args:
        unet: taken over and cut; its names stay those of the checkpoint.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        # The miniature's finest level has no attention.
        attending = [block for block in unet.up_blocks if hasattr(block, "attentions")]
        last = cast(CrossAttnUpBlock2D, attending[-1]).attentions[-1]
        blocks = cast(nn.ModuleList, last.transformer_blocks)
        blocks[-1] = LastBlock(cast(BasicTransformerBlock, blocks[-1]))
        last.register_module("proj_out", nn.Identity())
        for name in ("conv_norm_out", "conv_act", "conv_out"):
            setattr(unet, name, nn.Identity())
        self.unet = unet.eval().requires_grad_(False)
        self.blocks = [
            name
            for name, module in unet.named_modules()
            if isinstance(module, (BasicTransformerBlock, LastBlock)) and is_read(name)
        ]

    def forward(self, reference_BChw: Tensor, timestep: int, text_BTE: Tensor) -> Bank:
        """The bank of clean reference latents at the *current* timestep of the sampling."""
        bank: Bank = {}
        handles = [
            self.unet.get_submodule(f"{name}.norm1").register_forward_hook(partial(_keep, bank, name))
            for name in self.blocks
        ]
        try:
            self.unet(reference_BChw, timestep, encoder_hidden_states=text_BTE, return_dict=False)
        finally:
            for handle in handles:
                handle.remove()
        return bank


def is_read(block: str) -> bool:
    """Whether a transformer block takes part: the spatial ones of the mid and up blocks (`midup`)."""
    return block.startswith(("mid_block.", "up_blocks.")) and ".motion_modules." not in block


def install_readers(video_unet: UNetMotionModel, layout: ClipLayout) -> OpenBank:
    """Put reference attention on every spatial block of the mid and up blocks; returns where the bank is put."""
    opened = OpenBank()
    for name, module in video_unet.named_modules():
        if isinstance(module, BasicTransformerBlock) and is_read(name):
            set_processor(module.attn1, ReferenceAttnProcessor(name, layout, opened))
    return opened
