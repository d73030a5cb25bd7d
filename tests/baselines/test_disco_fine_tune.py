"""Properties of DisCo's fine-tuning at toy size."""

import dataclasses

import lightning
import numpy as np
import pytest
import torch

from src.baselines.disco.fine_tune import (
    DisCoClip,
    draw_batch,
    draw_references,
    fine_tune_loss,
    rate_factor,
    step_generator,
    trained_parameters,
)
from src.baselines.disco.fine_tune_module import DisCoFineTuneModule, clip_loader
from src.baselines.disco.sampling import make_scheduler
from src.baselines.disco.settings import FineTuneSettings
from src.baselines.disco.trained import save_trained
from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.training.fitting import Fitting
from tests.baselines.disco_reference import SCHEDULER
from tests.baselines.initial import initial_disco
from tests.baselines.toys import toy_disco

SETTINGS = FineTuneSettings(resolution=64, batch_size=4, max_steps=6)


@pytest.fixture(scope="module")
def clip() -> DisCoClip:
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 48, 48), np.float32)
    masks[:, 10:40, 10:40] = 0.5
    frames, poses = (rng.integers(0, 256, (3, 48, 48, 3), np.uint8) for _ in range(2))
    return DisCoClip(frames, masks, poses)


def train(clip: DisCoClip, settings: FineTuneSettings, folder, *, until: int, resume: str | None = None):
    """Fit up to a step; returns the module and the losses by step."""
    losses = {}

    class Losses(lightning.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            losses[trainer.global_step] = float(outputs["loss"])

    module = DisCoFineTuneModule(toy_disco(), make_scheduler(SCHEDULER), settings, seed=3)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=until,
        callbacks=[Losses()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, clip_loader(clip), ckpt_path=resume)
    trainer.save_checkpoint(folder / f"{until}.ckpt")
    return module, losses


@pytest.mark.parametrize("trained", ["human_specific", "general"])
def test_only_what_is_trained_moves(clip, tmp_path, trained):
    settings = dataclasses.replace(SETTINGS, trained=trained, max_steps=2)
    module, _ = train(clip, settings, tmp_path, until=2)
    before, after = toy_disco().state_dict(), module.model.state_dict()
    names = trained_parameters(module.model, trained).keys()
    assert all(torch.equal(before[name], after[name]) for name in after.keys() - names)
    moved = [name for name in names if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.9 * len(names)
    prefixes = {name.split(".")[0] for name in names}
    assert prefixes == {"unet", "controlnet", "refer_clip_proj"}
    if trained == "human_specific":
        assert all(".attn2." in name for name in names if name.startswith("unet."))
        assert not any(name.startswith("controlnet.nets.0.") for name in names)


def test_the_loss_falls(clip, tmp_path):
    settings = dataclasses.replace(SETTINGS, max_steps=15, learning_rate=5e-3)
    batches = [
        draw_batch(clip, draw_references(3, settings, seed=0), settings, foreground_size=32, generator=g)
        for g in (step_generator(7, step) for step in range(4))
    ]

    def loss(model) -> float:
        with torch.no_grad():
            generators = [torch.Generator().manual_seed(i) for i in range(4)]
            scheduler = make_scheduler(SCHEDULER)
            pairs = zip(batches, generators, strict=True)
            return float(sum(fine_tune_loss(model, scheduler, batch, generator=g) for batch, g in pairs))

    module, _ = train(clip, settings, tmp_path, until=15)
    assert loss(module.model.eval()) < 0.9 * loss(toy_disco())


def test_a_resumed_fine_tune_repeats_the_losses(clip, tmp_path):
    _, whole = train(clip, SETTINGS, tmp_path, until=4)
    train(clip, SETTINGS, tmp_path, until=2)
    _, rest = train(clip, SETTINGS, tmp_path, until=4, resume=str(tmp_path / "2.ckpt"))
    assert rest == {step: whole[step] for step in (3, 4)}


def test_a_checkpoint_holds_what_is_trained_and_no_other_loads(clip, tmp_path):
    module, _ = train(clip, SETTINGS, tmp_path, until=1)
    saved = torch.load(tmp_path / "1.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == {f"model.{name}" for name in module.trained()}
    general = dataclasses.replace(SETTINGS, trained="general")
    with pytest.raises(UserError, match="trains other parameters"):
        train(clip, general, tmp_path, until=2, resume=str(tmp_path / "1.ckpt"))


def test_a_loss_that_is_not_finite_ends_the_training(clip):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e3, warmup=0.0)
    module = DisCoFineTuneModule(toy_disco(), make_scheduler(SCHEDULER), settings, seed=3)
    trainer = TrainerSettings(accelerator="cpu", precision="32-true", max_steps=6, gradient_clip_val=None)
    fitting = Fitting(trainer=trainer, rate="method.fine_tune.learning_rate", checkpoints=None, checkpoint_every=50)
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step 2: .* smaller method.fine_tune.learning_rate"):
        fitting.fit(module, clip_loader(clip))


def test_a_frame_without_a_person_is_named(clip):
    masks = clip.masks.copy()
    masks[1] = 0
    with pytest.raises(UserError, match="the mask of training frame 1 is empty: no person was found"):
        DisCoClip(clip.frames, masks, clip.poses)


def test_what_has_diverged_is_not_kept(clip, tmp_path):
    module = DisCoFineTuneModule(toy_disco(), make_scheduler(SCHEDULER), SETTINGS, seed=3)
    with torch.no_grad():
        module.model.refer_clip_proj.weight[0] = torch.nan
    with pytest.raises(UserError, match=r"not finite in 1 tensor \(first: refer_clip_proj.weight\): it has diverged"):
        save_trained(tmp_path / "adapter.safetensors", module)
    assert not list(tmp_path.iterdir())


def test_a_step_follows_from_seed_and_step_alone(clip):
    references = draw_references(3, SETTINGS, seed=0)

    def batch(seed: int, step: int):
        generator = step_generator(seed, step)
        return draw_batch(clip, references, SETTINGS, foreground_size=32, generator=generator)

    one, same = batch(1, 5), batch(1, 5)
    assert all(torch.equal(getattr(one, n), getattr(same, n)) for n in one.__dataclass_fields__)
    assert not torch.equal(one.target, batch(1, 6).target) and not torch.equal(one.target, batch(2, 5).target)


def test_crops_are_shared_and_frames_come_in_turn(clip):
    """Frames, poses and references that are all the same picture stay so under every crop."""
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None] * 5, (48, 48, 3))
    same = np.stack([ramp, ramp, ramp])
    ones = np.zeros((3, 48, 48), np.float32)
    ones[:, 0, 0] = 1
    batch = draw_batch(
        DisCoClip(same, ones, same),
        np.zeros(3, int),
        SETTINGS,
        foreground_size=32,
        generator=step_generator(0, 0),
    )
    torch.testing.assert_close(batch.target, batch.pose * 2 - 1)
    inner = slice(24, None)
    torch.testing.assert_close(batch.background[..., inner, inner], batch.target[..., inner, inner])
    assert len({float(image.sum()) for image in batch.target}) > 1, "every crop is the same"

    flat = np.stack([np.full((48, 48, 3), value, np.uint8) for value in (0, 100, 200)])
    batch = draw_batch(
        DisCoClip(flat, ones, flat), np.zeros(3, int), SETTINGS, foreground_size=32, generator=step_generator(0, 0)
    )
    shades = [round(float(image.mean()) * 255) for image in batch.pose]
    assert len(shades) == 4 and set(shades[:3]) == {0, 100, 200}


def test_the_reference_may_be_dropped_for_a_whole_step(clip):
    always = dataclasses.replace(SETTINGS, drop_reference=1.0)
    kept, dropped = (
        draw_batch(clip, np.zeros(3, int), settings, foreground_size=32, generator=step_generator(0, 0))
        for settings in (SETTINGS, always)
    )
    assert kept.foreground.any() and not dropped.foreground.any()
    assert torch.equal(kept.background, dropped.background)


def test_references():
    assert draw_references(5, dataclasses.replace(SETTINGS, reference="first"), seed=0).tolist() == [0] * 5
    drawn = draw_references(50, SETTINGS, seed=0)
    assert len(set(drawn.tolist())) > 10 and drawn.max() < 50


def test_the_rate_rises_and_falls():
    rates = [rate_factor(step, FineTuneSettings()) for step in range(500)]
    assert rates.index(max(rates)) == 49 and max(rates) == 1
    assert rates[:50] == sorted(rates[:50]) and rates[50:] == sorted(rates[50:], reverse=True)
    assert rate_factor(500, FineTuneSettings()) == 1e-8 / 1e-3


def test_before_training_both_controlnets_are_copies_of_the_unet():
    toy = toy_disco()
    model = initial_disco(toy.unet, toy.clip_image_encoder, toy.vae, pose_embedding=(8, 8, 16, 16))
    pose, background = model.controlnet.nets
    for net in (pose, background):
        assert torch.equal(net.down_blocks[0].resnets[0].conv1.weight, toy.unet.down_blocks[0].resnets[0].conv1.weight)
    assert torch.equal(background.controlnet_cond_embedding.conv_in.weight, toy.unet.conv_in.weight)
    assert torch.equal(model.refer_clip_proj.weight, toy.clip_image_encoder.visual_projection.weight)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    context, t = torch.zeros(1, 17, 32), torch.tensor(481)
    with torch.no_grad():
        plain = toy.unet(latents, t, encoder_hidden_states=context, return_dict=False)[0]
        assert torch.equal(model(latents, t, context, torch.zeros(1, 3, 64, 64), latents), plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above"),
        ({"crop_scale": 0.0}, "crop_scale=0.0"),
        ({"drop_reference": 2.0}, "drop_reference=2.0"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"betas": (0.9, 1.0)}, "betas=1.0 must be at least 0 and at most 0.999999"),
    ],
    ids=str,
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(UserError, match=message):
        FineTuneSettings(**settings)
