"""Clip-wide group norm in chunks against PyTorch's over the whole clip."""

import pytest
import torch
import torch.nn.functional as F

from src.models.clip_norm import ClipNorm

NUM_FRAMES, CHANNELS, GROUPS, EPS = 7, 12, 3, 1e-5
CHUNKS = {"whole": [slice(0, 7)], "uneven": [slice(0, 3), slice(3, 6), slice(6, 7)]}


def inputs(dtype, memory_format, offset=0.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(NUM_FRAMES, CHANNELS, 6, 5, generator=generator) * 3 + offset
    weight, bias = torch.randn(2, CHANNELS, generator=generator)
    return x.to(dtype).to(memory_format=memory_format), weight, bias


def clip_norm(x, weight, bias, chunks):
    return ClipNorm.apply(x[None], weight, bias, GROUPS, EPS, chunks)[0]


def whole(x, weight, bias):
    y = F.group_norm(x.double().transpose(0, 1)[None], GROUPS, weight.double(), bias.double(), EPS)
    return y[0].transpose(0, 1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_result_is_that_of_the_whole_clip_rounded_once(dtype, chunks, memory_format):
    x, weight, bias = inputs(dtype, memory_format)
    y = clip_norm(x, weight, bias, chunks)
    assert y.dtype == dtype and y.is_contiguous(memory_format=memory_format)
    exact = whole(x, weight, bias)
    # One rounding is half a unit in the last place; float32 arithmetic before it may move it over the edge.
    tolerance = torch.finfo(dtype).eps / 2 * exact.abs() + 4e-6
    assert bool(((y.double() - exact).abs() <= tolerance).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_chunks_change_next_to_nothing(dtype):
    x, weight, bias = inputs(dtype, torch.contiguous_format)
    one, many = (clip_norm(x, weight, bias, chunks) for chunks in CHUNKS.values())
    assert float((one != many).float().mean()) < 0.01


def test_a_large_mean_takes_no_digits_from_the_variance():
    x, weight, bias = inputs(torch.float32, torch.contiguous_format, offset=1000.0)
    y = clip_norm(x, weight, bias, CHUNKS["uneven"])
    torch.testing.assert_close(y.double(), whole(x, weight, bias), rtol=0, atol=2e-3)


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_the_gradient_is_that_of_the_whole_clip(chunks):
    x, weight, bias = inputs(torch.float32, torch.channels_last)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    gradients = []
    for norm in (lambda x: clip_norm(x, weight, bias, chunks), lambda x: whole(x, weight, bias)):
        leaf = x.clone().requires_grad_()
        (norm(leaf) * upstream).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_each_of_two_clips_has_statistics_of_its_own(chunks, dtype):
    """In one batch, as the branches of guidance are, forward and backward."""
    x, weight, bias = inputs(dtype, torch.channels_last)
    both_BFCHW = torch.stack([x, x.flip(0) * 2 + 1]).requires_grad_()
    y = ClipNorm.apply(both_BFCHW, weight, bias, GROUPS, EPS, chunks)
    y.square().sum().backward()
    for clip, of_both, gradient in zip(both_BFCHW.detach(), y, both_BFCHW.grad, strict=True):
        leaf = clip.clone().requires_grad_()
        alone = clip_norm(leaf, weight, bias, chunks)
        alone.square().sum().backward()
        torch.testing.assert_close(of_both, alone, rtol=0, atol=1e-6)
        torch.testing.assert_close(gradient, leaf.grad, rtol=0, atol=1e-5)
