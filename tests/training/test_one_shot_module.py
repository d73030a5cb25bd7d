import functools

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from src.models.build import build_backbone
from src.models.loading import random_image_model
from src.training.data_module import OneShotDataModule
from src.training.one_shot_module import OneShotModule, draw_step
from tests.conftest import TINY


class Losses(Callback):
    def __init__(self) -> None:
        self.values: dict[int, float] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values[trainer.global_step] = float(outputs["loss"])


@pytest.fixture
def fit(people_clip, tmp_path):
    """Fine-tune the toy model; returns the losses by step and the module."""
    frames, poses = people_clip

    def run(max_steps, *, length=None, ckpt_path=None, lr=1e-3, save=False):
        image = random_image_model("tiny", base="tiny", seed=0)
        optimizer = functools.partial(torch.optim.AdamW, lr=lr)
        backbone = build_backbone(image, TINY)
        module = OneShotModule(backbone, image.scheduler, optimizer, batch_frames=3, seed=5)
        losses = Losses()
        saver = [ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=1)] if save else []
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=max_steps,
            max_epochs=-1,
            logger=False,
            callbacks=[losses, *saver],
            enable_checkpointing=save,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        length = length or max_steps
        data = OneShotDataModule(frames[:6], poses[:6], "a person", encoder=image, num_steps=length)
        trainer.fit(module, data, ckpt_path=ckpt_path)
        return losses.values, module

    return run


def test_a_step_draws_frames_in_time_order_without_replacement():
    seen = set()
    for step in range(50):
        frames, timestep, noise = draw_step(20, 8, (4, 2, 2), 1000, seed=0, step=step)
        assert len(set(frames.tolist())) == 8 and frames.tolist() == sorted(frames.tolist())
        assert 0 <= timestep < 1000 and noise.shape == (8, 4, 2, 2)
        seen |= set(frames.tolist())
    assert seen == set(range(20))
    assert len(draw_step(5, 8, (1,), 1000, seed=0, step=0)[0]) == 5
    one, other = (draw_step(20, 8, (4,), 1000, seed=seed, step=3) for seed in (0, 1))
    assert not torch.equal(one[2], other[2])


def test_the_loss_falls_and_only_the_trained_part_moves(fit):
    before = build_backbone(random_image_model("tiny", base="tiny", seed=0), TINY).state_dict()
    losses, module = fit(60, lr=3e-3)
    values = list(losses.values())
    assert sum(values[-15:]) < 0.9 * sum(values[:15])
    trained = module.backbone.trainable_state()
    for name, after in module.backbone.state_dict().items():
        assert torch.equal(after, before[name]) == (name not in trained), name


def test_a_resumed_run_repeats_the_next_losses_to_the_bit(fit, tmp_path):
    whole, module = fit(6)
    fit(4, length=6, save=True)
    resumed, resumed_module = fit(6, ckpt_path=str(tmp_path / "step=4.ckpt"))
    assert resumed == {step: whole[step] for step in (5, 6)}
    for name, parameter in module.backbone.trainable_state().items():
        assert torch.equal(parameter, resumed_module.backbone.trainable_state()[name]), name


def test_checkpoints_hold_the_trained_part_alone(fit, tmp_path):
    _, module = fit(2, save=True)
    checkpoint = torch.load(tmp_path / "step=2.ckpt", weights_only=False)
    assert set(checkpoint["state_dict"]) == {f"backbone.{name}" for name in module.backbone.trainable_state()}
    checkpoint["state_dict"].popitem()
    with pytest.raises(ValueError, match="trains other parameters"):
        module.on_load_checkpoint(checkpoint)


def test_the_clip_is_encoded_once(people_clip, tiny, monkeypatch):
    frames, poses = people_clip
    calls = []
    monkeypatch.setattr(tiny, "encode_frames", lambda f: calls.append(1) or torch.zeros(len(f), 4, 8, 8))
    data = OneShotDataModule(frames[:2], poses[:2], "a person", encoder=tiny, num_steps=5)
    data.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    data.setup("fit")
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert calls == [1] and len(batches) == 5 and batches[0]["poses"].dtype == torch.uint8
