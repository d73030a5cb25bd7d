from dataclasses import replace

import pytest
import torch
from torch import nn

from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.data.subject_split import TrainingClip
from src.models.build import build_backbone
from src.models.loading import random_image_model
from src.training import checkpointing
from src.training.checkpointing import kept_bytes, set_checkpointing
from src.training.fine_tune import FineTuneJob, fine_tune
from src.training.settings import OptimizerSettings
from tests.conftest import TINY, run_settings


@pytest.fixture
def inputs(backbone, people_clip):
    generator = torch.Generator().manual_seed(0)
    poses = torch.from_numpy(people_clip[0][:6]).permute(0, 3, 1, 2)[None]
    conditioning = backbone.prepare(poses, torch.randn(1, 7, 32, generator=generator))
    return conditioning, torch.randn(6, 4, 8, 8, generator=generator)


def test_what_a_step_keeps_grows_evenly_with_its_frames(backbone, inputs):
    few, more, many = (kept_bytes(backbone, *inputs, frames) for frames in (2, 3, 6))
    assert few + 4 * (more - few) == pytest.approx(many, rel=0.02) and few > 2**20
    set_checkpointing(backbone, True, *inputs, batch_frames=6)
    assert kept_bytes(backbone, *inputs, 6) < many / 4


@pytest.mark.parametrize(("choice", "free", "used"), [("auto", 2**40, False), ("auto", 1, True), (True, 2**40, True)])
def test_auto_checkpoints_where_memory_needs_it(backbone, inputs, monkeypatch, choice, free, used):
    monkeypatch.setattr(checkpointing, "free_bytes", lambda device: free)
    assert set_checkpointing(backbone, choice, *inputs, batch_frames=4) is used
    for network in (backbone.unet, backbone.controlnet):
        assert network.is_gradient_checkpointing is used
    assert set_checkpointing(backbone, False, *inputs, batch_frames=4) is False
    assert not backbone.unet.is_gradient_checkpointing


def test_a_fused_optimiser_trains_in_mixed_precision_with_clipped_gradients(people_clip):
    """Lightning's own clipping refuses it."""
    frames, poses = people_clip
    trainer = TrainerSettings(accelerator="cpu", precision="bf16-mixed", max_steps=2, gradient_clip_val=1e-3)

    def trained(**optimizer) -> torch.Tensor:
        image = random_image_model("tiny", base="tiny", seed=0)
        backbone = build_backbone(image, TINY)
        job = FineTuneJob(
            clip=TrainingClip(frames[:4], poses[:4], "a person", 10.0),
            batch_frames=3,
            optimizer=OptimizerSettings(lr=1e-3, **optimizer),
            trainer=trainer,
            seed=0,
        )
        fine_tune(job, image, backbone)
        return torch.cat([p.flatten() for p in backbone.trainable_state().values()])

    torch.testing.assert_close(trained(fused=True), trained(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="optimizer.fused=true cannot go with trainer.precision=16-mixed"):
        run_settings("subject=people_001", "model=tiny", "optimizer.fused=true", "trainer.precision=16-mixed")


def test_frozen_weights_are_halved_and_their_norms_are_not(tiny):
    backbone = build_backbone(tiny, replace(TINY, dtype="bfloat16"))
    for module in backbone.modules():
        for parameter in module.parameters(recurse=False):
            whole = parameter.requires_grad or isinstance(module, (nn.GroupNorm, nn.LayerNorm))
            assert parameter.dtype == (torch.float32 if whole else torch.bfloat16), module
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for frames in (1, 3):
            conditioning = backbone.prepare(torch.zeros(1, frames, 3, 64, 64), torch.zeros(1, 7, 32))
            noise = backbone(torch.ones(1, frames, 4, 8, 8), 500, conditioning)
            assert torch.isfinite(noise).all()
