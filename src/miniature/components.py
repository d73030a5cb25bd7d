"""An AutoencoderDC that begins as the best linear map of its patches: what it then learns is the residual.

Dimensions: B crops, C latent channels, P = 48 values of a 4×4 patch of RGB, H×W pixels.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, Decoder, Encoder, ResBlock
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn

SIDE, VALUES = 4, 48
# The library normalises the features of each pixel, in every residual block and before the last layer, and so loses
# how strong they are: with its own initialisation the model falls below the linear map and stays there. Beside a
# channel that holds a constant this large the norm hardly depends on the picture: blocks are plain convolutions.
CONSTANT = 64.0


def principal_components(images_BCHW: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (P,), components (C, P) of unit length and variances (C,), largest first, of the 4×4 patches of images.

    Args:
        images_BCHW: RGB in any range, sides divisible by 4.
        count: C, at most 48.
    """
    patches_XP = F.pixel_unshuffle(images_BCHW, SIDE).movedim(1, -1).flatten(0, 2).double()
    mean_P = patches_XP.mean(0)
    values, vectors = torch.linalg.eigh((patches_XP - mean_P).T.cov())
    return mean_P.float(), vectors.T.flip(0)[:count].float(), values.flip(0)[:count].clamp_min(1e-12).float()


def latent_variances(variances_C: Tensor, power: float) -> Tensor:
    """Variances (C,) of mean 1 that latent channels are given: all equal for power 0, in natural proportion for 1."""
    powered_C = variances_C**power
    return powered_C / powered_C.mean()


@torch.no_grad()
def start_from_components(vae: AutoencoderDC, images_BCHW: Tensor, *, power: float) -> Tensor:
    """Make the encoder project patches on their components and the decoder rebuild them; every other path adds zero.

    Needs the structure of `conf/part/vae.yaml`: factor 4, space-to-channel shortcuts that lose nothing (four times the
    channels behind the second), no shortcut around the latents. The decoder's last layers see each value twice, once
    with its sign changed, so that its rectifier passes both halves.

    Returns:
        The variances (C,) of the latents, see `latent_variances`.
    """
    mean_P, components_CP, variances_C = principal_components(images_BCHW, vae.config["latent_channels"])
    wanted_C = latent_variances(variances_C, power)
    gain_C = (wanted_C / variances_C).sqrt()
    # The place in a patch of the library's channels, which come from halving the picture twice.
    numbers = torch.arange(VALUES).float().reshape(1, 3, SIDE, SIDE)
    at = F.pixel_unshuffle(F.pixel_unshuffle(numbers, 2), 2).flatten().long()
    for module in vae.modules():
        if isinstance(module, ResBlock):
            _start_block(module)
        elif isinstance(module, DCDownBlock2d | DCUpBlock2d) and module.shortcut:
            _zero(module.conv)
    _start_encoder(vae.encoder, (components_CP * gain_C[:, None])[:, at], mean_P[at])
    _start_decoder(vae.decoder, (components_CP / gain_C[:, None])[:, at], mean_P[at])
    return wanted_C


def _start_block(block: ResBlock) -> None:
    """The last hidden unit is the constant, and so is the last channel before the norm, which then drops it."""
    block.conv1.weight[-1] = 0
    _bias(block.conv1)[-1] = CONSTANT
    nn.init.zeros_(block.conv2.weight)
    block.conv2.weight[-1, -1, 1, 1] = 1
    weight, bias = _weight_and_bias(block.norm)
    nn.init.constant_(weight, CONSTANT / weight.numel() ** 0.5)
    weight[-1] = 0
    nn.init.zeros_(bias)


def _start_encoder(encoder: Encoder, project_CP: Tensor, mean_P: Tensor) -> None:
    assert isinstance(encoder.conv_in, DCDownBlock2d), "the first level has no blocks"
    pixels = encoder.conv_in.conv
    pixels.weight[:3] = 0
    pixels.weight[range(3), range(3), 1, 1] = 1
    _bias(pixels)[:3] = 0
    _zero(encoder.conv_out)
    encoder.conv_out.weight[:, :VALUES, 1, 1] = project_CP
    _bias(encoder.conv_out).copy_(-project_CP @ mean_P)


def _start_decoder(decoder: Decoder, rebuild_CP: Tensor, mean_P: Tensor) -> None:
    first, constant = decoder.conv_in, constant_channels(decoder.conv_in.out_channels)
    first.weight[: constant.stop] = 0
    first_bias = _bias(first)
    first_bias[: constant.stop] = 0
    for where, sign in ((slice(VALUES), 1), (slice(VALUES, 2 * VALUES), -1)):
        first.weight[where, :, 1, 1] = sign * rebuild_CP.T
        first_bias[where] = sign * mean_P
    first_bias[constant] = CONSTANT
    for module in decoder.up_blocks.modules():
        if isinstance(module, ResBlock):
            kept = constant_channels(module.conv1.in_channels)
            module.conv1.weight[:, kept] = 0
            _weight_and_bias(module.norm)[0][kept] = 0
    weight, bias = _weight_and_bias(decoder.norm_out)
    nn.init.constant_(weight, CONSTANT / weight.numel() ** 0.5)
    nn.init.zeros_(bias)
    assert isinstance(decoder.conv_out, DCUpBlock2d), "the last level has no blocks"
    last, half = decoder.conv_out.conv, VALUES // 4
    _zero(last)
    last.weight[range(half), range(half), 1, 1] = 1
    last.weight[range(half), range(half, 2 * half), 1, 1] = -1


def _zero(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(_bias(layer))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _weight_and_bias(norm: object) -> tuple[Tensor, Tensor]:
    """Of a norm over channels as this model has them."""
    assert isinstance(norm, RMSNorm) and norm.weight is not None and norm.bias is not None
    return norm.weight, norm.bias


def constant_channels(channels: int) -> slice:
    """Which of the decoder's channels hold `CONSTANT`: four at the latents' resolution, one at twice that."""
    copies = SIDE if channels >= 2 * VALUES + SIDE else 1
    return slice(VALUES // 2 * copies, VALUES // 2 * copies + copies)


def keep_constant(vae: AutoencoderDC) -> None:
    """Leave what makes the constants out of training: nothing but the norms reads them, and nothing writes to them.

    Read by a convolution, a step of the optimiser would move its output `CONSTANT` times as far as through another.
    """
    for module in vae.modules():
        if isinstance(module, ResBlock):
            _freeze(module.conv1, rows=slice(-1, None))
            _freeze(module.conv2, rows=slice(-1, None), columns=slice(-1, None))
            _freeze(module.norm, rows=slice(-1, None))
    _freeze(vae.decoder.conv_in, rows=constant_channels(vae.decoder.conv_in.out_channels))
    for module in vae.decoder.up_blocks.modules():
        if isinstance(module, ResBlock):
            _freeze(module.conv1, columns=constant_channels(module.conv1.in_channels))
            _freeze(module.norm, rows=constant_channels(module.conv2.out_channels))
        elif isinstance(module, DCUpBlock2d):
            channels = module.conv.out_channels
            _freeze(module.conv, rows=constant_channels(channels), columns=constant_channels(module.conv.in_channels))


def _freeze(layer: nn.Module, *, rows: slice | None = None, columns: slice | None = None) -> None:
    """Zero the gradients of a layer's outputs `rows` and of the weights that read its inputs `columns`."""
    for name, parameter in layer.named_parameters():
        mask = torch.ones_like(parameter)
        if rows is not None:
            mask[rows] = 0
        if columns is not None and name == "weight":
            mask[:, columns] = 0
        parameter.register_hook(lambda gradient, mask=mask: gradient * mask.to(gradient))
