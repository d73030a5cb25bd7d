import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from src.common.trainer import TrainerSettings
from src.data.subject_split import TrainingClip
from src.models.backbone import VideoBackbone
from src.models.build import build_backbone
from src.models.loading import random_image_model
from src.training.callbacks import StepTimer
from src.training.data_module import VALIDATION_DRAWS, OneShotDataModule, draw_step, encode_clip
from src.training.fine_tune import FineTuneJob, fine_tune
from src.training.fitting import Observers
from src.training.one_shot_module import OneShotModule
from src.training.settings import OptimizerSettings
from tests.conftest import TINY

CPU = torch.device("cpu")


class Losses(Callback):
    def __init__(self) -> None:
        self.values: dict[int, float] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values[trainer.global_step] = float(outputs["loss"])


@pytest.fixture
def clip(people_clip) -> TrainingClip:
    frames, poses = people_clip
    return TrainingClip(frames[:6], poses[:6], "a person", 10.0)


@pytest.fixture
def fit(clip, tmp_path):
    """Fine-tune the toy model; returns the losses by step and the module."""

    def run(max_steps, *, ckpt_path=None, lr=1e-3, save=False):
        image = random_image_model("tiny", base="tiny", seed=0)
        module = OneShotModule(build_backbone(image, TINY), image.scheduler, OptimizerSettings(lr=lr))
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
            limit_val_batches=0,
        )
        encoded = encode_clip(image, clip, CPU)
        data = OneShotDataModule(encoded, batch_frames=3, num_timesteps=1000, seed=5)
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
    fit(4, save=True)
    resumed, resumed_module = fit(6, ckpt_path=str(tmp_path / "step=4.ckpt"))
    assert resumed == {step: whole[step] for step in (5, 6)}
    for name, parameter in module.backbone.trainable_state().items():
        assert torch.equal(parameter, resumed_module.backbone.trainable_state()[name]), name


def test_a_checkpoint_keeps_the_last_loss_and_nothing_else_is_taken_for_one():
    timer, other = StepTimer(), StepTimer()
    timer.loss = 0.25
    other.load_state_dict(timer.state_dict())
    assert other.loss == 0.25
    for damaged in ({"loss": "0.25"}, {"loss": [1]}, {}):
        other.load_state_dict(damaged)
        assert other.loss is None


def test_checkpoints_hold_the_trained_part_alone(fit, tmp_path):
    _, module = fit(2, save=True)
    checkpoint = torch.load(tmp_path / "step=2.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {f"backbone.{name}" for name in module.backbone.trainable_state()}
    checkpoint["state_dict"].popitem()
    with pytest.raises(ValueError, match="trains other parameters"):
        module.on_load_checkpoint(checkpoint)


def test_the_clip_is_encoded_once_and_before_the_first_step(clip, tiny, monkeypatch, tmp_path):
    """And the encoders leave the device again, whatever it is."""
    calls, moves = [], []
    encode = tiny.encode_frames
    monkeypatch.setattr(tiny, "encode_frames", lambda frames: calls.append(len(frames)) or encode(frames))
    monkeypatch.setattr(tiny, "move_encoders", moves.append)
    settings = TrainerSettings(accelerator="cpu", precision="32-true", max_steps=5)
    job = FineTuneJob(clip=clip, batch_frames=3, optimizer=OptimizerSettings(), trainer=settings, seed=0)

    class Watch(Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            assert calls == [6] and moves == [CPU, CPU]

    record = fine_tune(job, tiny, build_backbone(tiny, TINY), observers=Observers(callbacks=[Watch()]))
    assert calls == [6] and record["steps"] == 5


def test_batches_hold_what_a_step_draws(clip, tiny):
    data = OneShotDataModule(encode_clip(tiny, clip, CPU), batch_frames=3, num_timesteps=1000, seed=5)
    data.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1)
    steps = iter(data.train_dataloader())
    for step, batch in zip(range(5), steps, strict=False):
        frames, timestep, noise = draw_step(6, 3, (4, 8, 8), 1000, seed=5, step=step)
        assert torch.equal(batch["frames"], frames)
        assert torch.equal(batch["latents"], data.clip.latents_NChw[frames])
        assert torch.equal(batch["noise"], noise) and batch["timestep"].tolist() == [timestep]
    first, again = (list(data.val_dataloader()) for _ in range(2))
    assert len(first) == VALIDATION_DRAWS
    assert all(torch.equal(a["noise"], b["noise"]) for a, b in zip(first, again, strict=True))
    assert [batch["timestep"].item() for batch in first] == [62, 187, 312, 437, 562, 687, 812, 937]


def test_a_step_sees_the_poses_of_the_frames_that_were_drawn(fit, monkeypatch):
    seen: list[torch.Tensor] = []
    whole: list[torch.Tensor] = []
    forward, prepare = VideoBackbone.forward, VideoBackbone.prepare

    def spying(self, latents, t, conditioning):
        seen.append(conditioning.pose_embedding_BFChw)
        return forward(self, latents, t, conditioning)

    def preparing(self, *given, **named):
        conditioning = prepare(self, *given, **named)
        whole.append(conditioning.pose_embedding_BFChw)
        return conditioning

    monkeypatch.setattr(VideoBackbone, "forward", spying)
    monkeypatch.setattr(VideoBackbone, "prepare", preparing)
    fit(4)
    drawn = [draw_step(6, 3, (4, 8, 8), 1000, seed=5, step=step)[0] for step in range(4)]
    assert any(frames.tolist() != [0, 1, 2] for frames in drawn)
    for frames, embedding in zip(drawn, seen[-4:], strict=True):
        assert torch.equal(embedding, whole[0][:, frames])


def test_the_optimiser_has_what_the_settings_say():
    weight = torch.nn.Parameter(torch.zeros(2))
    built = OptimizerSettings(lr=0.3, weight_decay=0.5, betas=(0.8, 0.9)).build([weight])
    [group] = built.param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.3, 0.5, (0.8, 0.9))
