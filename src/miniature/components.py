"""An AutoencoderDC that begins as the best linear map of its patches: what it then learns is the residual.

Dimensions: B crops, C latent channels, P = 48 values of a 4×4 patch of RGB, H×W pixels.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from torch import Tensor, nn

SIDE, VALUES = 4, 48
# A channel of the decoder that never changes: the library normalises the last features of each pixel, and beside a
# constant this large the norm hardly depends on the picture.
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
    mean_P, components_CP, variances_C = principal_components(images_BCHW, vae.config.latent_channels)
    wanted_C = latent_variances(variances_C, power)
    gain_C = (wanted_C / variances_C).sqrt()
    # The place in a patch of the library's channels, which come from halving the picture twice.
    numbers = torch.arange(VALUES).float().reshape(1, 3, SIDE, SIDE)
    at = F.pixel_unshuffle(F.pixel_unshuffle(numbers, 2), 2).flatten().long()
    _start_encoder(vae.encoder, (components_CP * gain_C[:, None])[:, at], mean_P[at])
    _start_decoder(vae.decoder, (components_CP / gain_C[:, None])[:, at], mean_P[at])
    return wanted_C


def _start_encoder(encoder: nn.Module, project_CP: Tensor, mean_P: Tensor) -> None:
    pixels = encoder.conv_in.conv
    pixels.weight[:3] = 0
    pixels.weight[range(3), range(3), 1, 1] = 1
    pixels.bias[:3] = 0
    _silence_residuals(encoder.down_blocks)
    nn.init.zeros_(encoder.conv_out.weight)
    encoder.conv_out.weight[:, :VALUES, 1, 1] = project_CP
    encoder.conv_out.bias.copy_(-project_CP @ mean_P)


def _start_decoder(decoder: nn.Module, rebuild_CP: Tensor, mean_P: Tensor) -> None:
    _silence_residuals(decoder.up_blocks)
    positive, negative, constant = (slice(start, start + VALUES) for start in (0, VALUES, 2 * VALUES))
    constant = constant_channels(SIDE)
    decoder.conv_in.weight[: constant.stop] = 0
    decoder.conv_in.bias[: constant.stop] = 0
    for where, sign in ((positive, 1), (negative, -1)):
        decoder.conv_in.weight[where, :, 1, 1] = sign * rebuild_CP.T
        decoder.conv_in.bias[where] = sign * mean_P
    decoder.conv_in.bias[constant] = CONSTANT
    for name, module in decoder.up_blocks.named_modules():
        if name.endswith("conv1"):
            module.weight[:, constant_channels(SIDE if module.in_channels > VALUES else 1)] = 0
    features = decoder.norm_out.weight.numel()
    nn.init.constant_(decoder.norm_out.weight, CONSTANT / features**0.5)
    nn.init.zeros_(decoder.norm_out.bias)
    out = decoder.conv_out.conv
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    half = VALUES // 4
    out.weight[range(half), range(half), 1, 1] = 1
    out.weight[range(half), range(half, 2 * half), 1, 1] = -1


def _silence_residuals(blocks: nn.Module) -> None:
    for name, module in blocks.named_modules():
        # The last layer of a residual block is its norm, that of a change of resolution its convolution.
        if name.endswith((".norm", ".conv")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def constant_channels(copies: int) -> slice:
    """Which channels hold `CONSTANT`: four at the latents' resolution (`copies` 4), one at twice that (1)."""
    return slice(2 * VALUES // 4 * copies, 2 * VALUES // 4 * copies + copies)


def keep_constant(decoder: nn.Module) -> None:
    """Leave the constant channels out of training: nothing but the last norm reads them, and nothing writes to them.

    Read by a convolution, a step of the optimiser would move its output `CONSTANT` times as far as through another.
    """
    for name, parameter in [*decoder.up_blocks.named_parameters(), *decoder.conv_in.named_parameters()]:
        reads = name.endswith(("conv1.weight", "conv.weight"))
        mask = torch.ones_like(parameter)
        if reads:
            mask[:, constant_channels(SIDE if parameter.shape[1] > VALUES else 1)] = 0
        if not name.endswith(("conv1.weight", "conv1.bias")):
            mask[constant_channels(SIDE if parameter.shape[0] > VALUES else 1)] = 0
        parameter.register_hook(lambda gradient, mask=mask: gradient * mask.to(gradient))
