"""The public ControlVideo model's way of computing, rebuilt on the weights of a backbone of ours, to measure against.

Its code is not at hand: this follows its structure as the paper, its checkpoints and the reference tensors show it.
Clips are (B, C, F, H, W) tensors that are folded for each convolution and each transformer; norms see all five axes;
keys and values are made of every frame and repeated from the key frame; prompts and poses go through everything, in
each prediction. Attention is PyTorch's fused one, which the code as published has not.

Dimensions: B clips, C channels, F frames, H×W latent cells or pixels, L tokens, T text tokens, E text channels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from src.models.backbone import VideoBackbone


class FiveDimensional(nn.Module):
    """Predicts what the backbone predicts, whose weights it shares and whose hooks and processors it goes around."""

    def __init__(self, backbone: VideoBackbone) -> None:
        super().__init__()
        self.unet, self.controlnet = backbone.unet, backbone.controlnet

    def forward(self, latents_BCFhw: Tensor, timestep: int, poses_BCFHW: Tensor, text_BTE: Tensor) -> Tensor:
        """Predicted noise (B, C, F, h, w); poses are images in [0, 1], embedded anew each time."""
        net: Any = self.controlnet
        time_BC = _time(net, timestep, latents_BCFhw)
        x = _frames(net.conv_in, latents_BCFhw) + _embedded(net.controlnet_cond_embedding, poses_BCFHW)
        x, skips = _down(net, x, time_BC, text_BTE)
        residuals = [_frames(conv, skip) for conv, skip in zip(net.controlnet_down_blocks, skips, strict=True)]
        residual = _frames(net.controlnet_mid_block, _middle(net, x, time_BC, text_BTE))

        net = self.unet
        time_BC = _time(net, timestep, latents_BCFhw)
        x, skips = _down(net, _frames(net.conv_in, latents_BCFhw), time_BC, text_BTE)
        skips = [skip + more for skip, more in zip(skips, residuals, strict=True)]
        x = _middle(net, x, time_BC, text_BTE) + residual
        for block in net.up_blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, attention in zip(block.resnets, attentions, strict=True):
                x = _residual(resnet, torch.cat([x, skips.pop()], 1), time_BC)
                x = x if attention is None else _transformer(attention, x, text_BTE)
            for upsampler in block.upsamplers or []:
                x = _frames(upsampler.conv, F.interpolate(x, scale_factor=[1.0, 2.0, 2.0], mode="nearest"))
        return _frames(net.conv_out, F.silu(_norm(net.conv_norm_out, x)))


def _frames(layer: Callable[[Tensor], Tensor], x_BCFHW: Tensor) -> Tensor:
    """A layer of images on each frame of a clip."""
    folded = x_BCFHW.transpose(1, 2).flatten(0, 1)
    return layer(folded).unflatten(0, (len(x_BCFHW), -1)).transpose(1, 2)


def _norm(norm: nn.GroupNorm, x_BCFHW: Tensor) -> Tensor:
    return F.group_norm(x_BCFHW, norm.num_groups, norm.weight, norm.bias, norm.eps)


def _time(net: Any, timestep: int, like: Tensor) -> Tensor:
    steps = torch.full((len(like),), timestep, device=like.device)
    return net.time_embedding(net.time_proj(steps).to(like.dtype))


def _embedded(embedding: Any, poses_BCFHW: Tensor) -> Tensor:
    x = F.silu(_frames(embedding.conv_in, poses_BCFHW))
    for conv in embedding.blocks:
        x = F.silu(_frames(conv, x))
    return _frames(embedding.conv_out, x)


def _residual(block: Any, x: Tensor, time_BC: Tensor) -> Tensor:
    y = _frames(block.conv1, F.silu(_norm(block.norm1, x)))
    y = y + block.time_emb_proj(F.silu(time_BC))[:, :, None, None, None]
    y = _frames(block.conv2, F.silu(_norm(block.norm2, y)))
    shortcut = x if block.conv_shortcut is None else _frames(block.conv_shortcut, x)
    return (shortcut + y) / block.output_scale_factor


def _down(net: Any, x: Tensor, time_BC: Tensor, text_BTE: Tensor) -> tuple[Tensor, list[Tensor]]:
    skips = [x]
    for block in net.down_blocks:
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            x = _residual(resnet, x, time_BC)
            x = x if attention is None else _transformer(attention, x, text_BTE)
            skips.append(x)
        for downsampler in block.downsamplers or []:
            x = _frames(downsampler.conv, x)
            skips.append(x)
    return x, skips


def _middle(net: Any, x: Tensor, time_BC: Tensor, text_BTE: Tensor) -> Tensor:
    first, second = net.mid_block.resnets
    return _residual(second, _transformer(net.mid_block.attentions[0], _residual(first, x, time_BC), text_BTE), time_BC)


def _transformer(transformer: Any, x_BCFHW: Tensor, text_BTE: Tensor) -> Tensor:
    num_frames, (height, width) = x_BCFHW.shape[2], x_BCFHW.shape[3:]
    text_XTE = text_BTE.repeat_interleave(num_frames, 0)

    def of_frames(x_XCHW: Tensor) -> Tensor:
        y = transformer.proj_in(transformer.norm(x_XCHW)).permute(0, 2, 3, 1).flatten(1, 2)
        for block in transformer.transformer_blocks:
            y = _block(block, y, text_XTE, num_frames)
        y = y.unflatten(1, (height, width)).permute(0, 3, 1, 2).contiguous()
        return transformer.proj_out(y) + x_XCHW

    assert not transformer.use_linear_projection, "Stable Diffusion 1 projects by convolutions"
    return _frames(of_frames, x_BCFHW)


def _block(block: Any, x_XLC: Tensor, text_XTE: Tensor, num_frames: int) -> Tensor:
    n_XLC = block.norm1(x_XLC)
    attention, temporal = block.attn1, block.attn1.processor.temporal
    keys, values = (_of_key_frame(to(n_XLC), num_frames) for to in (attention.to_k, attention.to_v))
    attended = x_XLC + _attend(attention, attention.to_q(n_XLC), keys, values)
    if temporal is not None:
        over = temporal.attn_temp
        y_YFC = n_XLC.unflatten(0, (-1, num_frames)).transpose(1, 2).flatten(0, 1)
        y_YFC = _attend(over, over.to_q(y_YFC), over.to_k(y_YFC), over.to_v(y_YFC))
        y_XLC = y_YFC.unflatten(0, (-1, x_XLC.shape[1])).transpose(1, 2).flatten(0, 1)
        attended = attended + temporal.conv_temp(y_XLC)
    cross = block.attn2
    n_XLC = block.norm2(attended)
    x_XLC = attended + _attend(cross, cross.to_q(n_XLC), cross.to_k(text_XTE), cross.to_v(text_XTE))
    y = block.norm3(x_XLC)
    for layer in block.ff.net:
        y = layer(y)
    return x_XLC + y


def _of_key_frame(x_XLC: Tensor, num_frames: int) -> Tensor:
    return x_XLC.unflatten(0, (-1, num_frames))[:, [0] * num_frames].flatten(0, 1)


def _attend(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    out = F.scaled_dot_product_attention(q, k, v, scale=attention.scale).transpose(1, 2).flatten(2)
    assert attention.to_out is not None
    return attention.to_out[0](out)
