"""What ours is measured against computes what ours does."""

import torch

from tests.models import measure_public


def test_the_rebuilt_public_layout_predicts_what_ours_does(monkeypatch) -> None:
    monkeypatch.setitem(measure_public.SIZES, "toy", ((32, 32, 32, 32), 1, 2, 8))
    case = measure_public.Case("toy", 3)
    for backbone in (case.backbone, case.public_backbone):
        generator = torch.Generator().manual_seed(1)
        for name, parameter in backbone.named_parameters():
            if "conv_temp" in name or "controlnet_" in name:  # zeros at first, which would hide what goes through them
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    images = case.images_1FCHW[:, 1:]
    with torch.no_grad():
        conditioning = case.backbone.prepare(images, case.target)
        ours = case.backbone(case.latents_1FChw, measure_public.TIMESTEP, conditioning)
        inputs = case.latents_1FChw.transpose(1, 2), measure_public.TIMESTEP, images.transpose(1, 2), case.target
        theirs = case.public(*inputs).transpose(1, 2)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert case.ours().shape[1] == 4 and case.theirs().shape[2] == 3
