"""Pre-training of the miniature models: the pool, each part end to end, resuming, and who can read the weights."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC
from hydra.utils import instantiate
from lightning import LightningModule, Trainer
from omegaconf import DictConfig
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from src.common.errors import UserError
from src.miniature.base import stratified_timesteps
from src.miniature.common import PoolModule
from src.miniature.details import detail_cells, detail_rectangles
from src.miniature.keypoints import KeypointsModule
from src.miniature.pacing import Bar
from src.miniature.pools import PeoplePool, batch_indices, open_pool, render_pool
from src.miniature.tokenizer import build_tokenizer, save_tokenizer
from src.miniature.training import build_trainer
from src.miniature.vae import VaeModule
from src.models import loading
from src.people.identity import describe, sample_identity
from src.people.render import render_clip, render_frame
from src.pose.draw import draw_poses
from src.pose.extractors.mini import KeypointNet, MiniExtractor
from src.pretrain import main, pretrain, settings_of_pretraining
from tests.models.loaded import loaded_model

POOLS = ("train", "heldout")
SHIPPED = Path(loading.__file__).parent / "weights"
SMALL = ("checkpoint_every=2", "part.max_steps=4", "part.validate_every=4", "part.module.settings.batch_size=4")
PARTS = {
    "vae": (
        *(f"part.module.vae.{side}_block_out_channels=[28,28,112]" for side in ("encoder", "decoder")),
        *(f"part.module.vae.{side}_layers_per_block=[0,1,1]" for side in ("encoder", "decoder")),
        "part.module.crop=16",
        "part.module.start_crops=50",
    ),
    "base": ("part.channels=[16,16,32]", "part.text_channels=16", "part.module.text_encoder.intermediate_size=16"),
    "keypoints": ("part.module.net.channels=[4,4,8,8,8]",),
    "clip": (
        "part.module.vision.image_size=32",
        *(f"part.module.{side}.hidden_size=16" for side in ("vision", "text")),
        *(f"part.module.{side}.num_hidden_layers=1" for side in ("vision", "text")),
    ),
}


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty people to train on and fifty held out, one picture each at 32 pixels."""
    folder = tmp_path_factory.mktemp("pools")
    for name, first_seed in (("train", 1000), ("heldout", 500)):
        render_pool(folder / name, identities=50, frames_per_identity=1, size=32, first_seed=first_seed)
    return folder


@pytest.fixture
def arguments(pools: Path) -> Callable[..., list[str]]:
    """The command line of a small training."""

    def make(part: str, *overrides: str) -> list[str]:
        data = [
            f"data.{name}.{key}={value}"
            for name in POOLS
            for key, value in dict(folder=pools / name, identities=50, frames_per_identity=1, size=32).items()
        ]
        trainer = ("trainer=cpu", "trainer.precision=32-true")
        return [f"part={part}", *trainer, *data, *SMALL, *PARTS[part], *overrides]

    return make


@pytest.fixture
def config(arguments: Callable[..., list[str]], tmp_path: Path, compose_config: Callable) -> Callable[..., DictConfig]:
    return lambda part, *overrides: compose_config("pretrain", f"folder={tmp_path}", *arguments(part, *overrides))


@pytest.fixture
def with_vae(config: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """A config of the base, after its VAE was trained."""
    pretrain(config("vae"))
    return lambda *overrides: config("base", *overrides)


def test_the_bar_shows_the_steps_that_there_is_time_for(
    call_main, arguments: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def look(bar: Bar, trainer: Trainer, module: LightningModule) -> None:
        [task] = [task for task in bar.progress.tasks if task.description.startswith("Training")]
        shown.append(task.total)

    monkeypatch.setattr(Bar, "on_train_end", look)
    monkeypatch.setattr("src.miniature.pacing.FIRST_STEPS", 2)
    monkeypatch.setattr("src.miniature.pacing.EVERY", 1)
    words = arguments("keypoints", "part.max_steps=5000", "checkpoint_every=5000", "part.validate_every=5000")
    assert call_main(main, *words, "finish_in=00:00:00:01", "folder=here")[0] == 0
    assert len(shown) == 1 and shown[0] < 5000


def test_several_devices_may_share_a_training(config: Callable[..., DictConfig]) -> None:
    trainer = build_trainer(settings_of_pretraining(config("clip", "trainer.devices=2")))
    assert trainer.num_devices == trainer.world_size == 2


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=-1", "seed=-1 must be at least 0"),
        ("checkpoint_every=abc", "checkpoint_every=abc: input should be a valid integer"),
        ("part.max_steps=abc", "part.max_steps=abc: input should be a valid integer"),
        ("part.ema_decay=2", "part.ema_decay=2.0 must be at least 0 and at most 1"),
        ("data.train.size=0", "must be at least 1"),
        ("part.module.settings.batch_size=0", "part.module.settings.batch_size=0 must be at least 1"),
        ("part.module.settings.decay_fraction=0", "part.module.settings.decay_fraction=0.0 must be above 0"),
        ("part.module.settings.learning_rate=1e300", "learning_rate=1e+300 must be above 0 and at most 1000"),
        ("part.module.settings.weight_decay=1e300", "weight_decay=1e+300 must be at least 0 and at most 1000"),
        ("part.module.settings.seed=-1", "part.module.settings.seed=-1 must be at least 0"),
        ("part.module.settings.batch_size=few", "part.module.settings.batch_size=few: input should be a valid integer"),
        ("finish_in=soon", "finish_in=soon must be DD:HH:MM:SS"),
        ("trainer.devices=0", "trainer.devices=0 must be at least 1"),
        ("part=wav", "part=wav is unknown"),
    ],
)
def test_bad_settings_are_one_line(call_main, tmp_path: Path, argument: str, message: str) -> None:
    status, stderr = call_main(main, *(["part=clip"] if "part=" not in argument else []), "trainer=cpu", argument)
    assert status == 2 and message in stderr and stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    assert not list(tmp_path.iterdir())


def test_the_pool_holds_the_frames_their_drawings_and_prompts(pools: Path) -> None:
    pool = open_pool(pools / "train")
    identity = sample_identity(1007)
    frame, pose = render_frame(identity, "talk", 32, np.random.default_rng([1007, 0]))
    assert len(pool) == 50
    np.testing.assert_array_equal(pool.gather("frames", np.array([7]))[0], frame)
    np.testing.assert_array_equal(pool.gather("drawings", np.array([7])), draw_poses(pose, 32))
    np.testing.assert_array_equal(pool.xy[7], pose.xy[0])
    assert pool.prompts[7] == describe(identity)


def test_rendering_resumes_at_the_shard_that_is_missing(pools: Path, tmp_path: Path) -> None:
    def render(identities: int) -> PeoplePool:
        return render_pool(tmp_path, identities=identities, frames_per_identity=1, size=32, first_seed=1000)

    render(50)
    first = (tmp_path / "shard_00000" / "frames.npy").stat().st_mtime_ns
    both = render(100)
    assert len(both) == 100 and (tmp_path / "shard_00000" / "frames.npy").stat().st_mtime_ns == first
    assert len(open_pool(tmp_path, identities=50)) == 50
    assert open_pool(tmp_path, identities=50).fingerprint == open_pool(pools / "train").fingerprint != both.fingerprint


def test_several_workers_render_what_one_renders(pools: Path, tmp_path: Path) -> None:
    settings = {"identities": 100, "frames_per_identity": 1, "size": 32, "first_seed": 1000}
    both, one = render_pool(tmp_path, **settings, workers=2), open_pool(pools / "train")
    np.testing.assert_array_equal(both.gather("frames", np.arange(50)), one.gather("frames", np.arange(50)))
    assert both.prompts[:50] == one.prompts and len(both) == 100


@pytest.mark.parametrize("change", [{"size": 64}, {"first_seed": 2000}, {"identities": 60}])
def test_another_pool_in_the_same_folder_is_refused(pools: Path, change: dict[str, int]) -> None:
    settings = {"identities": 50, "frames_per_identity": 1, "size": 32, "first_seed": 1000} | change
    with pytest.raises(UserError, match=r"holds another pool|multiple of 50"):
        render_pool(pools / "train", **settings)


def test_every_pass_over_the_pool_sees_each_frame_once() -> None:
    batches = batch_indices(10, 4, seed=3)
    seen = np.concatenate([next(batches) for _ in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_timesteps_are_one_from_each_part_of_the_schedule() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([stratified_timesteps(10, 1000, generator) for _ in range(200)])
    assert (drawn.sort(1).values // 100 == torch.arange(10)).all()
    assert drawn[:, 0].float().mean() == pytest.approx(499.5, abs=60)  # each place in the batch is uniform by itself


def test_tokenizer_knows_the_words_and_survives_others(tmp_path: Path) -> None:
    prompts = [describe(sample_identity(seed)) for seed in range(1000, 1040)]
    tokenizer = build_tokenizer(prompts, length=32)
    save_tokenizer(tokenizer, tmp_path)
    reloaded = CLIPTokenizer.from_pretrained(tmp_path)
    for prompt in [*prompts, "a zebra with émeraude hair, 99!"]:
        ids = tokenizer(prompt).input_ids
        assert reloaded(prompt).input_ids == ids
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id not in ids[1:-1]
    words = prompts[0].replace(",", " ,").replace("-", " - ").split()
    assert len(tokenizer(prompts[0]).input_ids) == len(words) + 2
    assert reloaded.model_max_length == 32


def test_vae_and_base_train_and_load_as_an_image_model(
    with_vae: Callable[..., DictConfig], pools: Path, tmp_path: Path
) -> None:
    figures = pretrain(with_vae())
    assert 0.5 < figures["heldout_loss"] < 2  # four steps: still about the variance of the noise
    model = loaded_model(str(tmp_path / "weights" / "mini"))
    assert model.downsampling == 4
    heldout = open_pool(pools / "heldout")
    frames = heldout.gather("frames", np.arange(50))
    assert float(model.encode_frames(frames).std()) == pytest.approx(1, abs=0.02)
    text = model.encode_prompt(heldout.prompts[0])
    assert text.shape == (1, 32, 16)
    saved = load_file(tmp_path / "weights" / "mini" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}


def test_the_base_goes_on_from_earlier_weights(with_vae: Callable[..., DictConfig], tmp_path: Path) -> None:
    """An attention that the earlier model did not have adds nothing at first, so it starts as the same model."""
    weights = tmp_path / "weights" / "mini"
    small = "part.module.unet.up_block_types=[CrossAttnUpBlock2D,CrossAttnUpBlock2D,UpBlock2D]"
    pretrain(with_vae(small))
    first = loaded_model(str(weights))
    longer = with_vae(f"part.module.start_from={weights}", f"run_dir={tmp_path}/longer", "part.max_steps=0")
    module = instantiate(longer.part.module)(**{name: open_pool(longer.data[name].folder) for name in POOLS}).eval()
    noisy = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    text = first.encode_prompt("a person").expand(2, -1, -1)
    with torch.no_grad():
        ours, theirs = (unet(noisy, 500, text).sample for unet in (module.unet, first.unet))
    torch.testing.assert_close(ours, theirs)
    assert len(module.unet.up_blocks[2].attentions) == 2 and not hasattr(first.unet.up_blocks[2], "attentions")
    assert module.tokenizer.get_vocab() == first.tokenizer.get_vocab()


def test_nothing_to_start_from_is_one_line(with_vae: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start_from"):
        pretrain(with_vae(f"part.module.start_from={tmp_path}"))


def test_the_decoder_goes_on_alone_and_the_latents_stay(config: Callable[..., DictConfig], tmp_path: Path) -> None:
    pretrain(config("vae"))
    path = tmp_path / "weights" / "mini" / "vae"
    before, scale = load_file(next(path.glob("*.safetensors"))), AutoencoderDC.load_config(path)["scaling_factor"]
    pretrain(
        config("vae", f"part.module.start_from={path}", "part.module.train_encoder=false", f"run_dir={tmp_path}/longer")
    )
    after = load_file(next(path.glob("*.safetensors")))
    kept = {name for name, tensor in after.items() if torch.equal(tensor, before[name])}
    assert {name for name in after if name.startswith("encoder.")} <= kept < set(after)
    assert AutoencoderDC.load_config(path)["scaling_factor"] == scale


def test_time_that_is_up_leaves_the_averaged_weights(config: Callable[..., DictConfig], tmp_path: Path) -> None:
    assert pretrain(config("keypoints", "max_time=00:00:00:00", "part.max_steps=400")) == {}
    assert (tmp_path / "keypoints" / "unfinished" / "mini-keypoints" / "model.safetensors").is_file()
    assert not (tmp_path / "weights").exists()


def test_a_gpu_trains_more_on_more(compose_config: Callable) -> None:
    small, large = (compose_config("pretrain", "part=base", f"trainer={name}", "seed=1") for name in ("cpu", "gpu"))
    assert large.part.module.settings.batch_size > small.part.module.settings.batch_size
    # The same model, so that either goes on from the other's weights.
    assert large.part.module.unet == small.part.module.unet
    assert large.data.train.identities > small.data.train.identities
    assert compose_config("pretrain", "part=clip", "trainer=gpu").part.max_steps


def test_faces_and_hands_are_where_their_keypoints_are() -> None:
    xy, mask = np.full((2, 128, 2), 0.9, np.float32), np.zeros((2, 128), bool)
    xy[0, 18:21] = [[0.26, 0.51], [0.49, 0.51], [0.26, 0.74]]
    mask[0, 18:21] = True
    mask[1, 86:88] = True  # two points of a hand are too few
    np.testing.assert_allclose(detail_rectangles(xy, mask, "face"), [[0.26, 0.51, 0.49, 0.74], [0, 0, 0, 0]])
    cells = detail_cells(xy, mask, 8)
    expected = np.zeros((2, 8, 8), bool)
    expected[0, 4:6, 2:4] = True
    np.testing.assert_array_equal(cells, expected)


def test_the_base_needs_a_vae(config: Callable[..., DictConfig]) -> None:
    with pytest.raises(UserError, match="part=vae"):
        pretrain(config("base"))


@pytest.mark.parametrize("part", ["vae", "keypoints"])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    part: str, config: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = config(part), config(part)
    pretrain(whole)
    broken.run_dir, broken.weights_dir = f"{tmp_path}/broken", f"{tmp_path}/broken_weights"
    with monkeypatch.context() as patch:
        patch.setattr(PoolModule, "images", _fail_at(3, PoolModule.images))
        patch.setattr(VaeModule, "crops", _fail_at(3, VaeModule.crops))
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(broken)
    pretrain(broken)
    ours, theirs = (load_file(next((tmp_path / name).rglob("*.safetensors"))) for name in ("weights", "broken_weights"))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=0, rtol=0)


def test_a_run_whose_time_is_up_again_and_again_ends_with_the_weights_of_an_unbroken_one(
    config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """The step before the stop is in the averaged weights too."""
    pretrain(config("keypoints", "part.max_steps=2"))
    broken = config("keypoints", "part.max_steps=2", "max_time=00:00:00:00", f"weights_dir={tmp_path}/broken_weights")
    broken.run_dir = f"{tmp_path}/broken"
    assert not pretrain(broken)
    assert pretrain(broken)["steps"] == 2
    ours, theirs = (load_file(next((tmp_path / name).rglob("*.safetensors"))) for name in ("weights", "broken_weights"))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=0, rtol=0)


@pytest.mark.parametrize("moment", ["validation", "sanity check"])
def test_a_run_that_is_stopped_while_it_measures_goes_on_to_the_same_bits(
    moment: str, call_main, arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the module holds the averaged weights; what is kept is the training's, in the place of each."""
    words = arguments("keypoints", "part.validate_every=3", "checkpoint_every=3")
    assert call_main(main, *words, "folder=whole")[0] == 0
    measure, saved = KeypointsModule.validation_step, tmp_path / "broken/keypoints/checkpoints/last.ckpt"

    def stop(self: KeypointsModule, *batch: object) -> None:
        if self.trainer.sanity_checking == (moment == "sanity check"):
            os.kill(os.getpid(), signal.SIGTERM)
        measure(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(KeypointsModule, "validation_step", stop)
        status, stderr = call_main(main, *words, "folder=broken")
    line = "stopped by SIGTERM: what was finished is kept; the same command goes on from there"
    assert status == 143 and stderr.splitlines()[-1] == line
    assert saved.is_file() == (moment == "validation")
    assert call_main(main, *words, "folder=broken")[0] == 0
    ours, theirs = (load_file(next((tmp_path / name).rglob("*.safetensors"))) for name in ("whole", "broken"))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=0, rtol=0)


def test_what_diverged_is_not_written(
    call_main, arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """In its last step: no loss tells of it. Nor does a library tell, twice, of the seed."""

    def overflow(self: KeypointsModule, optimizer: torch.optim.Optimizer) -> None:
        for parameter in self.trained():
            parameter.grad = torch.full_like(parameter, torch.inf)

    monkeypatch.setattr(KeypointsModule, "on_before_optimizer_step", overflow)
    status, stderr = call_main(main, *arguments("keypoints", "part.max_steps=1"))
    assert status == 2 and "the model holds values that are not finite" in stderr, stderr
    assert stderr.endswith("training diverged: take a lower part.module.settings.learning_rate\n")
    assert not (tmp_path / "pretrain/weights").exists() and "Seed set to" not in caplog.text


def test_after_a_divergence_a_lower_rate_goes_on_from_the_last_good_checkpoint(
    call_main, arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = arguments("keypoints", "checkpoint_every=5")
    given = ("learning_rate=1e3", "weight_decay=1e3", "warmup_steps=0")
    high = [f"part.module.settings.{setting}" for setting in given]
    assert call_main(main, *words, "folder=whole")[0] == 0
    assert call_main(main, *words, "folder=broken", "max_time=00:00:00:00")[0] == 0
    saved = tmp_path / "broken/keypoints/checkpoints/last.ckpt"
    before = saved.read_bytes()
    for last in (5, 4):  # in a step that would be kept, or at the end
        status, stderr = call_main(main, *words, "folder=broken", *high, f"part.max_steps={last}")
        assert status == 2 and stderr.splitlines()[-1].startswith("error: the loss is nan at step 4: the training has")
        assert "a smaller part.module.settings.learning_rate or trainer.precision=32-true may help" in stderr
        assert saved.read_bytes() == before and not (tmp_path / "broken/weights").exists()
    assert call_main(main, *words, "folder=broken")[0] == 0
    ours, theirs = (load_file(next((tmp_path / name).rglob("*.safetensors"))) for name in ("whole", "broken"))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=0, rtol=0)


def test_what_goes_on_has_the_weight_decay_that_is_given(
    call_main, arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = arguments("keypoints", "part.max_steps=2", "checkpoint_every=1", "folder=here")
    assert call_main(main, *words, "max_time=00:00:00:00")[0] == 0
    assert call_main(main, *words, "part.module.settings.weight_decay=0.5")[0] == 0
    checkpoint = torch.load(tmp_path / "here/keypoints/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert [group["weight_decay"] for group in checkpoint["optimizer_states"][0]["param_groups"]] == [0.5]


def _fail_at(step: int, method: Callable) -> Callable:
    def failing(self: PoolModule, *args: object) -> torch.Tensor:
        if self.global_step == step:
            raise RuntimeError("power cut")
        return method(self, *args)

    return failing


def test_a_finished_run_gives_the_same_weights_again(config: Callable[..., DictConfig], tmp_path: Path) -> None:
    first = pretrain(config("keypoints"))
    path = tmp_path / "weights" / "mini-keypoints" / "model.safetensors"
    before = path.read_bytes()
    assert pretrain(config("keypoints")) == pytest.approx(first)
    assert path.read_bytes() == before


def test_keypoints_train_and_extract(config: Callable[..., DictConfig], pools: Path, tmp_path: Path) -> None:
    figures = pretrain(config("keypoints"))
    assert 0 < figures["heldout_error_body"] < 1
    extractor = MiniExtractor(weights=tmp_path / "weights" / "mini-keypoints", visibility_threshold=0.0)
    frames = open_pool(pools / "heldout").gather("frames", np.arange(3))
    poses = extractor.extract(iter(frames))
    assert len(poses) == 3 and poses.mask.all() and (poses.xy >= 0).all() and (poses.xy <= 1).all()
    np.testing.assert_array_equal(extractor.extract(frames[1:2]).xy[0], poses.xy[1])


def test_a_heatmap_with_one_peak_gives_its_place() -> None:
    net = KeypointNet((4, 4, 8, 8, 8)).eval()
    net.heatmaps.register_forward_hook(lambda *_: peak)
    peak = torch.full((1, 128, 32, 32), -50.0)
    peak[:, :, 5, 20] = 50.0
    xy, _ = net(torch.zeros(1, 3, 128, 128))
    torch.testing.assert_close(xy[0], torch.tensor([20.5 / 32, 5.5 / 32]).expand(128, 2))


def test_an_extractor_without_weights_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="part=keypoints"):
        MiniExtractor(weights=tmp_path).extract([np.zeros((32, 32, 3), np.uint8)])


def test_clip_trains_and_loads(config: Callable[..., DictConfig], pools: Path, tmp_path: Path) -> None:
    pretrain(config("clip"))
    folder = tmp_path / "weights" / "mini-clip"
    model, tokenizer = CLIPModel.from_pretrained(folder, dtype=torch.float32), CLIPTokenizer.from_pretrained(folder)
    pixels = CLIPImageProcessor.from_pretrained(folder)(
        images=list(open_pool(pools / "heldout").gather("frames", np.arange(2))), return_tensors="pt"
    )
    tokens = tokenizer(
        ["a person", "a person with red hair"], padding="max_length", truncation=True, return_tensors="pt"
    )
    output = model(**pixels, input_ids=tokens.input_ids)
    assert output.logits_per_image.shape == (2, 2)


def test_the_shipped_vae_keeps_a_person_it_never_saw() -> None:
    frames, _ = render_clip(sample_identity(1), "talk", 4, 128, 1)
    model = loaded_model(str(SHIPPED / "mini"))
    latents = model.encode_frames(frames)
    error = np.square(model.decode_latents(latents).astype(float) - frames).mean((1, 2, 3))
    assert (20 * np.log10(255 / np.sqrt(error)) > 34).all()
    # Of many people's latents it is 1; the brightness of one room weighs in one person's.
    assert float(latents.std()) == pytest.approx(1, abs=0.4)


def test_the_shipped_base_predicts_noise_better_with_the_pose_and_prompt_of_the_frame() -> None:
    """Early in sampling, where pose and prompt say most: the error is small, and larger with those of a stranger."""
    model = loaded_model(str(SHIPPED / "mini"))
    identities = [sample_identity(seed) for seed in range(900, 906)]
    pictures = [render_frame(person, "talk", 128, np.random.default_rng(i)) for i, person in enumerate(identities)]
    latents = model.encode_frames(np.stack([frame for frame, _ in pictures]))
    poses = [torch.from_numpy(draw_poses(pose, 128)).permute(0, 3, 1, 2) / 255 for _, pose in pictures]
    text = torch.cat([model.encode_prompt(describe(person)) for person in identities])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    timesteps = torch.full((6,), 700)
    noisy = model.scheduler.add_noise(latents, noise, timesteps)

    @torch.no_grad()
    def error(pose: torch.Tensor, text: torch.Tensor) -> float:
        down, mid = model.controlnet(noisy, timesteps, text, pose, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        return float((model.unet(noisy, timesteps, text, **residuals).sample - noise).square().mean())

    own = error(torch.cat(poses), text)
    assert own < 0.03
    assert error(torch.cat(poses).roll(1, 0), text) > 1.5 * own
    assert error(torch.cat(poses), text.roll(1, 0)) > 1.2 * own
