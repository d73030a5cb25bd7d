"""Key-frame attention (Eq. 1) and temporal attention (Eq. 2) as attention processors on an unmodified diffusers UNet.

Dimensions: B clips (times prompts), F frames, L spatial tokens of a layer, T text tokens, C channels, N heads,
D channels a head.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor, nn

from src.models.layout import ClipLayout, joined

# Keys and values (B, N, L, D), and what is added to the scores (1, 1, 1, L), if anything.
KeysValues = tuple[Tensor, Tensor, Tensor | None]
# The CPU's fused attention works on vectors of 16 numbers: one by one it goes through what is over, of the keys and,
# where they are many, of the width of a head.
CPU_VECTOR, CPU_MANY_KEYS = 16, 128


class TemporalAttention(nn.Module):
    """Full attention over the frames at each spatial location (Eq. 2), followed by a zero-initialised linear layer.

    The linear layer is the method's 1×1 convolution `conv_temp`. The attention starts as a copy of the image
    model's self-attention of the same block; there is no positional encoding.
    """

    def __init__(self, spatial: Attention, layout: ClipLayout) -> None:
        super().__init__()
        channels = spatial.query_dim
        self.layout = layout
        self.attn_temp = Attention(channels, heads=spatial.heads, dim_head=spatial.inner_dim // spatial.heads)
        self.attn_temp.load_state_dict(spatial.state_dict())
        self.conv_temp = nn.Linear(channels, channels)
        nn.init.zeros_(self.conv_temp.weight)
        nn.init.zeros_(self.conv_temp.bias)

    def forward(self, x_BFLC: Tensor) -> Tensor:
        """Attend over F at every location; chunks run over locations, since frames depend on each other."""
        _, num_frames, num_tokens, channels = x_BFLC.shape
        attn = self.attn_temp
        weight = torch.cat([attn.to_q.weight, *(to.weight for to in key_value_layers(attn))])
        per_frame = -(-num_tokens // num_frames)
        chunks = list(self.layout.chunks(num_tokens, elements=5 * num_frames * channels, per_frame=per_frame))
        clips = [
            joined(lambda part, x=x_FLC: self._attend(x[:, part], weight), chunks, length=num_tokens, axis=1)
            for x_FLC in x_BFLC
        ]
        return clips[0][None] if len(clips) == 1 else torch.stack(clips)

    def _attend(self, x_FLC: Tensor, weight: Tensor) -> Tensor:
        """One product gives queries, keys and values; the attention reads them where they lie, frame by frame."""
        qkv_FLC = F.linear(x_FLC, weight)
        q_LNFD, k_LNFD, v_LNFD = qkv_FLC.unflatten(-1, (3, self.attn_temp.heads, -1)).permute(2, 1, 3, 0, 4)
        out_LNFD = F.scaled_dot_product_attention(q_LNFD, k_LNFD, v_LNFD, scale=self.attn_temp.scale)
        # It writes in the order in which its queries lie, so this is a view.
        out_FLC = out_LNFD.permute(2, 0, 1, 3).flatten(2)
        return self.conv_temp(output_layers(self.attn_temp)[0](out_FLC))


class KeyFrameAttnProcessor(nn.Module):
    """Self-attention in which all frames share the keys and values of one frame (Eq. 1), plus temporal attention.

    Keys and values are computed for the key frame alone.

    Args:
        layout: shared description of the batch axis.
        temporal: the temporal branch added to the output; None where the method has none (mid block, ControlNet).
    """

    KEY_FRAME = 0

    def __init__(self, layout: ClipLayout, temporal: TemporalAttention | None = None) -> None:
        super().__init__()
        self.layout = layout
        self.temporal = temporal

    def forward(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Map normalised hidden states (B·F, L, C) to the residual of the same shape."""
        assert encoder_hidden_states is None and attention_mask is None, "key-frame attention is self-attention"
        x_BFLC = hidden_states.unflatten(0, (-1, self.layout.num_frames))
        key_frame_BLC = x_BFLC[:, self.KEY_FRAME]
        k_BNLD, v_BNLD = (split_heads(to(key_frame_BLC), attn.heads) for to in key_value_layers(attn))
        out_BFLC = _attend(attn, x_BFLC, (k_BNLD, v_BNLD, None), self.layout)
        if self.temporal is not None:
            out_BFLC = out_BFLC + self.temporal(x_BFLC)
        return out_BFLC.flatten(0, 1)


class TextAttnProcessor:
    """Cross-attention whose text keys and values are computed once a clip instead of once a frame.

    Attributes:
        keys_values: of `text_keys_values`, made beforehand (`VideoBackbone.prepare`); None: made at each call.
    """

    def __init__(self, layout: ClipLayout) -> None:
        self.layout = layout
        self.keys_values: KeysValues | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend from hidden states (B·F, L, C) to text (B, T, C')."""
        assert attention_mask is None, "the text of Stable Diffusion 1 is attended to without a mask"
        x_BFLC = hidden_states.unflatten(0, (-1, self.layout.num_frames))
        keys_values = self.keys_values or text_keys_values(attn, encoder_hidden_states)
        if self.layout.num_frames == 1:
            # Without what fills vectors up, the result is the image model's to the bit.
            num_tokens = encoder_hidden_states.shape[1]
            k_BNTD, v_BNTD, _ = keys_values
            keys_values = k_BNTD[:, :, :num_tokens], v_BNTD[:, :, :num_tokens], None
        return _attend(attn, x_BFLC, keys_values, self.layout).flatten(0, 1)


def text_keys_values(attn: Attention, text_BTE: Tensor) -> KeysValues:
    """Keys and values of encoded prompts for one cross-attention; on a CPU filled up to whole vectors and masked.

    They are made where the weights lie (`src/models/offload.py`) and brought to the prompts' device.
    """
    device, num_tokens = text_BTE.device, text_BTE.shape[1]
    layers = key_value_layers(attn)
    text_BTE = text_BTE.to(layers[0].weight)
    k_BNTD, v_BNTD = (split_heads(to(text_BTE), attn.heads).to(device) for to in layers)
    missing = -num_tokens % CPU_VECTOR
    if device.type != "cpu" or not missing:
        return k_BNTD, v_BNTD, None
    mask = F.pad(k_BNTD.new_zeros(1, 1, 1, num_tokens), (0, missing), value=-torch.inf)
    return F.pad(k_BNTD, (0, 0, 0, missing)), F.pad(v_BNTD, (0, 0, 0, missing)), mask


def key_value_layers(attn: Attention) -> tuple[nn.Linear, nn.Linear]:
    """The layers that make keys and values, which an attention may lack but none of Stable Diffusion's does."""
    assert attn.to_k is not None and attn.to_v is not None
    return attn.to_k, attn.to_v


def output_layers(attn: Attention) -> nn.ModuleList:
    """The linear layer and the dropout behind an attention, which each of Stable Diffusion's has."""
    assert attn.to_out is not None
    return attn.to_out


def set_processor(attn: Attention | None, processor: Callable[..., Tensor]) -> None:
    """Put a processor of our own on an attention of a block that has it."""
    assert attn is not None
    attn.set_processor(cast(AttnProcessor, processor))  # the library takes any callable and names one of its classes


def split_heads(x_BLC: Tensor, heads: int) -> Tensor:
    """(B, heads, L, C / heads)."""
    return x_BLC.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(attn: Attention, x_BFLC: Tensor, keys_values: KeysValues, layout: ClipLayout) -> Tensor:
    """Queries of all frames of a clip against one shared set of keys and values, frames in chunks."""
    num_clips, num_frames, num_tokens, channels = x_BFLC.shape
    outputs = output_layers(attn)

    def of(frames: slice) -> Tensor:
        chunk_BFLC = x_BFLC[:, frames]
        q_BNXD = split_heads(attn.to_q(chunk_BFLC.flatten(1, 2)), attn.heads)
        out_BXC = _attention(q_BNXD, *keys_values, attn.scale).transpose(1, 2).flatten(2)
        return outputs[1](outputs[0](out_BXC)).unflatten(1, chunk_BFLC.shape[1:3])

    chunks = layout.chunks(num_frames, elements=3 * num_clips * num_tokens * channels)
    return joined(of, chunks, length=num_frames, axis=1)


def _attention(q_BNXD: Tensor, k_BNLD: Tensor, v_BNLD: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    num_queries, head_width = q_BNXD.shape[-2:]
    num_keys = k_BNLD.shape[-2]
    mask = None if mask is None else mask.to(q_BNXD.dtype).expand(-1, -1, num_queries, -1)
    missing = CPU_VECTOR - head_width
    # With one frame there are as many queries as keys, and the result is the image model's to the bit.
    if q_BNXD.device.type == "cpu" and missing > 0 and num_queries > num_keys >= CPU_MANY_KEYS:
        q_BNXD, k_BNLD, v_BNLD = (F.pad(x, (0, missing)) for x in (q_BNXD, k_BNLD, v_BNLD))
    out_BNXD = F.scaled_dot_product_attention(q_BNXD, k_BNLD, v_BNLD, attn_mask=mask, scale=scale)
    return out_BNXD[..., :head_width]
