import weakref

import pytest
import torch

from src.common.errors import UserError
from src.models.chunking import frame_bytes, plan_chunks
from src.sampling import noise_predictor
from src.sampling.noise_predictor import NoisePredictor, embed_pose_sequence
from src.sampling.settings import ApproximationSettings

TIMESTEPS = (900, 700, 500, 300)
# Steps of sampling=fast at which deep features are computed, and for how many prompts.
FAST = {0: 1, 2: 1, 3: 2, **dict.fromkeys(range(4, 10, 2), 2)}


@pytest.fixture
def inputs(backbone, people_clip) -> dict:
    generator = torch.Generator().manual_seed(0)
    _, poses = people_clip
    text, negative = torch.randn(2, 1, 7, 32, generator=generator)
    return {
        "latents": torch.randn(1, 5, 4, 8, 8, generator=generator),
        "poses": embed_pose_sequence(backbone, poses[:5], (64, 64)),
        "text": text,
        "negative": negative,
    }


def build(backbone, inputs, guidance_scale=3.0, **settings) -> NoisePredictor:
    negative = inputs["negative"] if guidance_scale != 1 else None
    return NoisePredictor(
        backbone,
        inputs["poses"],
        inputs["text"],
        unconditional_1TE=negative,
        guidance_scale=guidance_scale,
        **settings,
    )


def noises(predictor, inputs) -> list[torch.Tensor]:
    return [predictor(inputs["latents"] + 0.05 * step, t) for step, t in enumerate(TIMESTEPS)]


@pytest.fixture
def controlnet_calls(backbone) -> list[int]:
    """Rows of every evaluation of the ControlNet."""
    rows: list[int] = []
    backbone.controlnet.mid_block.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    return rows


@torch.no_grad()
def test_guidance_is_the_difference_of_two_prompts(backbone, inputs):
    noise = build(backbone, inputs)(inputs["latents"], 481)
    prompts = [backbone.condition(inputs["poses"], inputs[name]) for name in ("text", "negative")]
    conditional, unconditional = (backbone(inputs["latents"], 481, prompt) for prompt in prompts)
    torch.testing.assert_close(noise, unconditional + 3 * (conditional - unconditional), rtol=0, atol=1e-5)
    assert torch.equal(build(backbone, inputs, guidance_scale=1)(inputs["latents"], 481), conditional)


@torch.no_grad()
def test_prompts_together_and_in_turn_agree(backbone, inputs, controlnet_calls, monkeypatch):
    together = build(backbone, inputs)(inputs["latents"], 481)
    assert controlnet_calls == [10]
    monkeypatch.setattr("src.models.chunking.free_bytes", lambda device: 1)
    for frame_chunk in ("auto", None, 2):
        controlnet_calls.clear()
        in_turn = build(backbone, inputs, frame_chunk=frame_chunk)(inputs["latents"], 481)
        torch.testing.assert_close(in_turn, together, rtol=0, atol=2e-5)
        assert controlnet_calls == [5, 5]


def test_the_plan_follows_the_free_memory(backbone, monkeypatch):
    def plan(free: float, frame_chunk="auto"):
        monkeypatch.setattr("src.models.chunking.free_bytes", lambda device: int(free))
        return plan_chunks(
            backbone.unet,
            num_frames=10,
            latent_size=(8, 8),
            num_prompts=2,
            frame_chunk=frame_chunk,
        )

    needed = 10 * frame_bytes(backbone.unet, (8, 8), 4)
    assert plan(100 * needed).join_prompts and not plan(2 * needed).join_prompts
    assert plan(100 * needed).frame_chunk is None and plan(100 * needed).tile_elements > 0
    assert plan(100 * needed, 3).frame_chunk == 3 and plan(100 * needed, 3).tile_elements is None
    assert plan(100 * needed, None).frame_chunk is plan(100 * needed, None).tile_elements is None


@torch.no_grad()
def test_no_approximation_is_the_exact_predictor(backbone, inputs):
    exact = noises(build(backbone, inputs), inputs)
    off = noises(build(backbone, inputs, approximation=ApproximationSettings()), inputs)
    assert all(torch.equal(a, b) for a, b in zip(exact, off, strict=True))


@pytest.mark.parametrize(
    ("settings", "calls", "exact_steps"),
    [
        ({"features_every": 2}, [5, 5, 5, 5], (0, 2)),
        ({"guidance_every": 2}, [5, 5, 5, 5, 5, 5], (0, 2)),
        ({"features_every": 4, "guidance_every": 4}, [5, 5], (0,)),
        ({"guided_timesteps": (400, 800)}, [5, 5, 5, 5, 5, 5], (1, 2)),
        # Both of its ends are guided.
        ({"guided_timesteps": (500, 700)}, [5, 5, 5, 5, 5, 5], (1, 2)),
    ],
    ids=str,
)
@torch.no_grad()
def test_what_is_taken_over_is_not_computed(backbone, inputs, controlnet_calls, settings, calls, exact_steps):
    exact = noises(build(backbone, inputs), inputs)
    controlnet_calls.clear()
    found = noises(build(backbone, inputs, approximation=ApproximationSettings(**settings)), inputs)
    assert controlnet_calls == calls
    for step, (a, b) in enumerate(zip(found, exact, strict=True)):
        assert (float((a - b).abs().max()) < 2e-5) == (step in exact_steps), step


@torch.no_grad()
def test_what_is_taken_over_goes_with_the_predictor(backbone, inputs):
    predictor = build(backbone, inputs, approximation=ApproximationSettings(features_every=2))
    noises(predictor, inputs)
    features = [weakref.ref(of_a_prompt) for of_a_prompt in predictor._kept]
    del predictor
    assert [of_a_prompt() for of_a_prompt in features] == [None, None]


@pytest.mark.parametrize(
    ("settings", "num_steps", "computed"),
    [
        # At step 3 one prompt would have features of step 0 and the other of step 2.
        ({"features_every": 2, "guidance_every": 3}, 8, {0: 2, 2: 1, 3: 2, 4: 1, 6: 2}),
        # sampling=fast, whose guidance begins between two steps that compute features, draft, and fast at 25 steps.
        ({"features_every": 2, "guidance_every": 2, "guided_timesteps": (0, 700)}, 10, FAST),
        ({"features_every": 2, "guidance_every": 2}, 6, dict.fromkeys(range(0, 6, 2), 2)),
        (
            {"features_every": 2, "guidance_every": 2, "guided_timesteps": (0, 700)},
            25,
            {**dict.fromkeys((0, 2, 4, 6), 1), 7: 2, **dict.fromkeys(range(8, 25, 2), 2)},
        ),
    ],
    ids=str,
)
def test_two_prompts_take_over_features_of_one_step(backbone, inputs, monkeypatch, settings, num_steps, computed):
    predictor, found = build(backbone, inputs, approximation=ApproximationSettings(**settings)), []

    def in_turn(latents, timestep, conditionings, kept) -> list[torch.Tensor]:
        found.append(sum(not features.reuse for features in kept))
        for features in kept:
            features.outputs["a layer"] = 0
        return [latents] * len(kept)

    monkeypatch.setattr(backbone, "in_turn", in_turn)
    for timestep in reversed(range(1, 1 + 1000 // num_steps * num_steps, 1000 // num_steps)):
        predictor(inputs["latents"], timestep)
    assert {step: number for step, number in enumerate(found) if number} == computed


@pytest.mark.parametrize("settings", [{"features_every": 2}, {"guidance_every": 2}, {"guided_timesteps": (400, 1000)}])
@torch.no_grad()
def test_prompts_share_what_precedes_the_text_under_approximations(backbone, inputs, settings):
    predictor = build(backbone, inputs, approximation=ApproximationSettings(**settings))
    norms: list[int] = []
    backbone.unet.down_blocks[0].resnets[0].norm1.register_forward_pre_hook(lambda _, args: norms.append(len(args[0])))
    noises(predictor, inputs)
    # Once a timestep, guided or not.
    assert norms == [5] * len(TIMESTEPS)


@torch.no_grad()
def test_poses_are_drawn_a_few_at_a_time(backbone, people_clip, monkeypatch):
    _, poses = people_clip
    drawn: list[int] = []
    draw = noise_predictor.draw_poses
    monkeypatch.setattr(noise_predictor, "draw_poses", lambda some, size: drawn.append(len(some)) or draw(some, size))
    embedded = embed_pose_sequence(backbone, poses[:5], (64, 64))
    assert drawn == [2, 2, 1]
    images = torch.from_numpy(draw(poses[:5], (64, 64))).permute(0, 3, 1, 2)
    torch.testing.assert_close(embedded[0], backbone.embed_poses(images))


def test_settings_that_make_no_sense_are_refused(backbone, inputs):
    with pytest.raises(UserError, match="features_every=0"):
        ApproximationSettings(features_every=0)
    with pytest.raises(UserError, match="guided_timesteps=5000 must be at least 0 and at most 1000"):
        ApproximationSettings(guided_timesteps=(400, 5000))
    with pytest.raises(UserError, match="is empty"):
        ApproximationSettings(guided_timesteps=(800, 400))
    with pytest.raises(ValueError, match="go together"):
        NoisePredictor(backbone, inputs["poses"], inputs["text"], guidance_scale=2.0)
