"""Key-frame attention (Eq. 1) and temporal attention (Eq. 2) as attention processors on an unmodified diffusers UNet.

Dimensions: B clips, F frames, L spatial tokens of a layer, T text tokens, C channels, N heads, D channels a head.
"""

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from src.models.layout import ClipLayout


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
        num_frames = x_BFLC.shape[1]
        parts = []
        for locations in self.layout.chunks(x_BFLC.shape[2], per_frame=-(-x_BFLC.shape[2] // num_frames)):
            tokens_BLFC = x_BFLC[:, :, locations].transpose(1, 2)
            out_XFC = self.conv_temp(self.attn_temp(tokens_BLFC.flatten(0, 1)))
            parts.append(out_XFC.unflatten(0, tokens_BLFC.shape[:2]).transpose(1, 2))
        return torch.cat(parts, 2)


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
        k_BNLD, v_BNLD = (_split_heads(to(key_frame_BLC), attn.heads) for to in (attn.to_k, attn.to_v))
        out_BFLC = _attend(attn, x_BFLC, k_BNLD, v_BNLD, self.layout)
        if self.temporal is not None:
            out_BFLC = out_BFLC + self.temporal(x_BFLC)
        return out_BFLC.flatten(0, 1)


class TextAttnProcessor:
    """Cross-attention whose text keys and values are computed once a clip instead of once a frame."""

    def __init__(self, layout: ClipLayout) -> None:
        self.layout = layout

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
        k_BNTD, v_BNTD = (_split_heads(to(encoder_hidden_states), attn.heads) for to in (attn.to_k, attn.to_v))
        return _attend(attn, x_BFLC, k_BNTD, v_BNTD, self.layout).flatten(0, 1)


def _split_heads(x_BLC: Tensor, heads: int) -> Tensor:
    return x_BLC.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(attn: Attention, x_BFLC: Tensor, k_BNLD: Tensor, v_BNLD: Tensor, layout: ClipLayout) -> Tensor:
    """Queries of all frames of a clip against one shared set of keys and values, frames in chunks."""
    parts = []
    for frames in layout.chunks(x_BFLC.shape[1]):
        chunk_BFLC = x_BFLC[:, frames]
        q_BNXD = _split_heads(attn.to_q(chunk_BFLC.flatten(1, 2)), attn.heads)
        out_BNXD = F.scaled_dot_product_attention(q_BNXD, k_BNLD, v_BNLD, scale=attn.scale)
        out_BXC = out_BNXD.transpose(1, 2).flatten(2).to(q_BNXD.dtype)
        parts.append(attn.to_out[1](attn.to_out[0](out_BXC)).unflatten(1, chunk_BFLC.shape[1:3]))
    return torch.cat(parts, 1)
