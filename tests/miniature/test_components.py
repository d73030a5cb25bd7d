"""The VAE's beginning: a linear map in the library's class, and constants that training leaves alone."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC

from src.miniature.components import (
    CONSTANT,
    constant_channels,
    keep_constant,
    latent_variances,
    principal_components,
    start_from_components,
)


@pytest.fixture
def vae() -> AutoencoderDC:
    torch.manual_seed(0)
    return AutoencoderDC(
        latent_channels=16,
        encoder_block_out_channels=(28, 28, 112),
        decoder_block_out_channels=(28, 28, 112),
        encoder_layers_per_block=(0, 1, 1),
        decoder_layers_per_block=(0, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )


@pytest.fixture
def images() -> torch.Tensor:
    """Coloured noise in [-1, 1], of which 16 of 48 components keep a part."""
    noise = torch.randn(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return (F.avg_pool2d(noise, 3, 1, 1) * 2).clamp(-1, 1)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_model_begins_as_the_projection_on_the_components(
    vae: AutoencoderDC, images: torch.Tensor, power: float
) -> None:
    variances = start_from_components(vae, images, power=power)
    mean, components, natural = principal_components(images, 16)
    patches = F.pixel_unshuffle(images, 4).movedim(1, -1)
    projected = (patches - mean) @ components.T
    expected = F.pixel_shuffle((projected @ components + mean).movedim(-1, 1), 4)
    with torch.no_grad():
        latents = vae.encode(images).latent
        rebuilt = vae.decode(latents).sample
    # The last norm of the library lets through a little of how bright a pixel is.
    torch.testing.assert_close(rebuilt, expected, atol=5e-3, rtol=0)
    torch.testing.assert_close(latents.var((0, 2, 3)), variances, rtol=1e-3, atol=0)
    torch.testing.assert_close(variances / natural**power, (variances / natural**power).mean().expand(16))


def test_components_are_orthogonal_and_ordered(images: torch.Tensor) -> None:
    _, components, variances = principal_components(images, 48)
    torch.testing.assert_close(components @ components.T, torch.eye(48), atol=1e-5, rtol=0)
    assert (variances.diff() <= 0).all()
    assert latent_variances(variances, 0.5).mean() == pytest.approx(1)


def test_training_moves_the_model_but_not_its_constants(vae: AutoencoderDC, images: torch.Tensor) -> None:
    start_from_components(vae, images, power=0.5)
    keep_constant(vae)
    features = []
    vae.decoder.norm_out.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].detach()))
    before = {name: parameter.detach().clone() for name, parameter in vae.named_parameters()}
    optimizer = torch.optim.AdamW(vae.parameters(), 1e-2, weight_decay=0.0)
    for _ in range(3):
        loss = (vae(images).sample - images).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    vae(images)
    moved = [name for name, parameter in vae.named_parameters() if not torch.equal(parameter, before[name])]
    assert set(before) == set(moved)
    constants = features[-1][..., constant_channels(features[-1].shape[-1])]
    assert constants.shape[-1] == 1 and (constants == CONSTANT).all()
