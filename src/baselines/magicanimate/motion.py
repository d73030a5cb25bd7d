"""The denoising UNet with motion modules (sections 1.1 to 1.3): diffusers' UNetMotionModel, its norms set by hooks.

Dimensions: B clips, F frames, C channels, H×W latent cells.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel, UNetMotionModel
from diffusers.hooks import ModelHook
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn

from src.baselines.magicanimate.settings import NetworkSettings
from src.baselines.weights import load_strictly
from src.models.hooks import FrameChunks, original_forward, register
from src.models.layout import ClipLayout

# The gated unit holds its input, the product eight times as wide, and half of that twice.
_WIDTH = 16
# Options of an image UNet that UNetMotionModel has not: with another value the two are not the same network.
_FIXED = {
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "center_input_sample": False,
    "dual_cross_attention": False,
    "only_cross_attention": False,
    "upcast_attention": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "encoder_hid_dim": None,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
}


class WindowGroupNorm(ModelHook):
    """Statistics over all frames of a window, in the precision of the layer, where diffusers takes those of each frame.

    Args:
        layout: how frames lie in the batch axis.
    """

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout

    def new_forward(self, module: nn.GroupNorm, x_XCHW: Tensor) -> Tensor:
        """Normalise x (B·F, C, H, W)."""
        x_BCFHW = x_XCHW.unflatten(0, (-1, self.layout.num_frames)).transpose(1, 2)
        y_BCFHW = F.group_norm(x_BCFHW, module.num_groups, module.weight, module.bias, module.eps)
        return y_BCFHW.transpose(1, 2).flatten(0, 1)


class FrameGroupNorm(ModelHook):
    """Statistics of each frame alone at the entrance of a motion module, where diffusers takes those of all frames."""

    def new_forward(self, module: nn.GroupNorm, x_BCFHW: Tensor) -> Tensor:
        """Normalise x (B, C, F, H, W)."""
        x_XCHW = x_BCFHW.transpose(1, 2).flatten(0, 1)
        y_XCHW = F.group_norm(x_XCHW, module.num_groups, module.weight, module.bias, module.eps)
        return y_XCHW.unflatten(0, (-1, x_BCFHW.shape[2])).transpose(1, 2)


class LocationChunks(ModelHook):
    """Run a motion module's transformer on a part of the locations at a time: they do not depend on each other."""

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout

    def new_forward(self, module: nn.Module, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Apply the layer to (B·H·W, F, C) in chunks of as many locations as `frame_chunk` frames have values."""
        length, num_frames, channels = hidden_states.shape
        per_frame = -(-length // num_frames)
        chunks = list(self.layout.chunks(length, elements=_WIDTH * num_frames * channels, per_frame=per_frame))
        run = original_forward(self)
        if len(chunks) == 1:
            return run(hidden_states, *args, **kwargs)
        return torch.cat([run(hidden_states[part], *args, **kwargs) for part in chunks])


def motion_config(unet: UNet2DConditionModel, *, max_positions: int, heads: int | None = None) -> dict:
    """The config of a UNetMotionModel whose spatial layers are those of an image UNet, and which has motion modules
    behind every layer of the down and up blocks and none in the mid block.

    Args:
        unet: the image model's.
        max_positions: length of the position table.
        heads: of the motion modules; None: as many as the image UNet has.

    Raises:
        ValueError: the UNet uses an option that UNetMotionModel has not.
    """
    config = unet.config
    for name, value in _FIXED.items():
        if config[name] != value:
            raise ValueError(f"a UNet with {name}={config[name]} has no counterpart with motion modules")
    spatial_heads = config["num_attention_heads"] or config["attention_head_dim"]
    same = (
        *("sample_size", "in_channels", "out_channels", "block_out_channels", "layers_per_block", "act_fn"),
        *("downsample_padding", "mid_block_scale_factor", "norm_num_groups", "norm_eps", "cross_attention_dim"),
        *("transformer_layers_per_block", "reverse_transformer_layers_per_block", "use_linear_projection"),
    )
    return {
        **{name: config[name] for name in same},
        "down_block_types": tuple(name.replace("2D", "Motion") for name in config["down_block_types"]),
        "up_block_types": tuple(name.replace("2D", "Motion") for name in config["up_block_types"]),
        "num_attention_heads": spatial_heads,
        "motion_num_attention_heads": heads or spatial_heads,
        "motion_max_seq_length": max_positions,
        "use_motion_mid_block": False,
    }


def build_video_unet(
    unet: UNet2DConditionModel,
    spatial_state: Mapping[str, Tensor],
    motion_state: Mapping[str, Tensor],
    *,
    what: str,
    max_positions: int,
    heads: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> UNetMotionModel:
    """Join an image UNet and motion modules; tensors of the same precision are shared, not copied.

    Args:
        spatial_state: weights that replace the image UNet's; may be empty.
        motion_state: the motion modules under diffusers' names; position tables that it lacks are computed.
        what: the motion modules' file, for messages.
        max_positions, heads: see `motion_config`.
        dtype: of all weights.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    with torch.device("meta"):
        video_unet = UNetMotionModel(**motion_config(unet, max_positions=max_positions, heads=heads))
    state = {**unet.state_dict(), **spatial_state, **motion_state}
    for name, module in video_unet.named_modules():
        if isinstance(module, SinusoidalPositionalEmbedding) and f"{name}.pe" not in state:
            _, positions, channels = module.get_buffer("pe").shape
            state[f"{name}.pe"] = SinusoidalPositionalEmbedding(channels, positions).get_buffer("pe")
    load_strictly(video_unet, state, what=what, dtype=dtype)
    return video_unet


def motion_parameters(video_unet: UNetMotionModel) -> list[nn.Parameter]:
    """What a training of MagicAnimate's motion modules trains; 417,137,600 values with Stable Diffusion 1.5's sizes."""
    return [p for name, p in video_unet.named_parameters() if ".motion_modules." in name]


def install_norms(video_unet: UNetMotionModel, layout: ClipLayout, settings: NetworkSettings) -> None:
    """Give every group norm outside the spatial transformers the span that the settings name (1.1, 1.2)."""
    assert video_unet.conv_norm_out is not None
    spanning = [video_unet.conv_norm_out]
    for module in video_unet.modules():
        if isinstance(module, ResnetBlock2D):
            spanning += [module.norm1, module.norm2]
        elif isinstance(module, AnimateDiffTransformer3D) and settings.motion_norm == "frame":
            register(module.norm, FrameGroupNorm())
    for norm in spanning if settings.residual_norm == "window" else []:
        register(norm, WindowGroupNorm(layout))


def install_chunks(video_unet: UNetMotionModel, layout: ClipLayout) -> None:
    """Let `layout.frame_chunk` bound what passes through a layer at once."""
    for name, module in video_unet.named_modules():
        if isinstance(module, AnimateDiffTransformer3D):
            for block in module.transformer_blocks:
                register(block, LocationChunks(layout))
        elif isinstance(module, FeedForward) and ".motion_modules." not in name:
            register(module, FrameChunks(layout, width=_WIDTH))
