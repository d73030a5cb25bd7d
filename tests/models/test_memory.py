from dataclasses import replace

import pytest
import torch

from src.models.build import build_backbone
from src.models.loading import random_image_model
from src.models.memory import Count, Workload, _Living, _step, count_memory, settings_that_fit
from src.models.settings import ControlNetSettings, ModelSettings
from src.sampling.noise_predictor import NoisePredictor
from tests.conftest import TINY

SD15_LIKE = Count(
    frozen=1_202_452_244,
    trained=72_130_240,
    encoders=206_714_343,
    resident=0.3,
    training={True: 3.8e8, False: 2.2e9},
    sampling=5.4e7,
    sampling_chunk=2e8,
    encoding=6.7e8,
    decoding=8e8,
)


@pytest.fixture(scope="module")
def count() -> Count:
    return count_memory(TINY, resolution=64, precision="32-true")


def test_parameters_are_the_models(count, tiny):
    backbone = build_backbone(tiny, TINY)
    assert count.trained == backbone.num_trainable()
    assert count.frozen == sum(p.numel() for p in backbone.parameters()) - count.trained
    assert count.encoders == sum(p.numel() for n in (tiny.vae, tiny.text_encoder) for p in n.parameters())


def test_controlnets_beside_the_pose_one_are_counted_and_none_of_them_is_trained(count):
    net = ControlNetSettings(path="edges", condition="canny")
    more = count_memory(replace(TINY, controlnets=[net]), resolution=64, precision="32-true")
    pose = sum(p.numel() for p in random_image_model("tiny", base="t", seed=0).controlnet.parameters())
    assert (more.trained, more.frozen) == (count.trained, count.frozen + pose)
    two, without = (2 * one.sampling + one.sampling_chunk for one in (more, count))
    assert two > without and more.training[True] > count.training[True]


def test_the_count_on_empty_tensors_is_that_on_real_ones(count):
    """The same sum over the tensors that really live in a step."""
    with _Living() as living:
        tiny = random_image_model("tiny", base="tiny", seed=0)
        backbone = build_backbone(tiny, TINY).train()
        backbone.unet.enable_gradient_checkpointing()
        backbone.controlnet.enable_gradient_checkpointing()
        step = _step(backbone, 8, 64, None)
        real = living.peak_of(lambda: step(2, None).backward()) - 4 * count.trained
    assert 2 * count.training[True] == pytest.approx(real, rel=0.02)


def test_a_frame_is_counted_as_what_it_adds_where_prompts_are_in_turn(monkeypatch):
    """As they are where memory is short, whatever `sampling.frame_chunk` is."""
    monkeypatch.setattr("src.models.chunking.free_bytes", lambda device: 0)
    text = torch.zeros(1, 77, 32)
    with torch.no_grad(), _Living() as living:
        backbone = build_backbone(random_image_model("tiny", base="tiny", seed=0), TINY).eval()

        def predict(num_frames):
            poses = backbone.embed_poses(torch.zeros(1, 3, 64, 64).expand(num_frames, -1, -1, -1))[None]
            predictor = NoisePredictor(
                *(backbone, poses, text), unconditional_1TE=text, guidance_scale=12.0, frame_chunk=1
            )
            assert not predictor.plan.join_prompts
            predictor(torch.zeros(1, num_frames, 4, 8, 8), 481)

        step = _step(backbone, 8, 64, None)
        added = []
        for evaluate in (lambda n: step(n, 1, 2), predict):
            few, many = (living.peak_of(lambda n=n, e=evaluate: e(n), beyond=0) for n in (20, 30))
            added.append(many - few)
    assert added[0] > 0 and added[0] == pytest.approx(added[1], rel=0.02)


def test_checkpointing_and_frames_enter_as_they_should(count):
    assert 0 < count.training[True] < count.training[False]
    assert count.sampling > 0 and count.sampling_chunk > 0 and count.decoding > 0
    few, many = (SD15_LIKE.stages(Workload(num_frames=n)) for n in (51, 101))
    assert many["sampling"] - few["sampling"] == pytest.approx(50 * 5.4e7 / 2**30, abs=0.02)
    assert many["training"] == few["training"] and many["decoding"] == few["decoding"]


def test_weights_that_wait_leave_room_for_frames_in_sampling_alone(count):
    at_once, waiting = (SD15_LIKE.stages(Workload(offload=offload)) for offload in (False, True))
    weights = 4 * (SD15_LIKE.frozen + SD15_LIKE.trained)
    saved = (0.7 * weights + 4 * SD15_LIKE.encoders) / 2**30
    assert at_once["sampling"] - waiting["sampling"] == pytest.approx(saved, abs=0.02)
    assert (at_once["encoding"], at_once["training"]) == (waiting["encoding"], waiting["training"])
    assert 0 < count.resident < 1


def test_frames_are_decoded_one_at_a_time():
    one, all_at_once = (SD15_LIKE.stages(Workload(frame_chunk=chunk)) for chunk in (1, None))
    assert one["decoding"] == all_at_once["decoding"] and one["sampling"] < all_at_once["sampling"]


def test_half_precision_halves_the_frozen_weights_alone():
    full, half = (SD15_LIKE.stages(Workload(dtype=dtype)) for dtype in ("float32", "bfloat16"))
    for stage in ("training", "sampling", "decoding"):
        assert full[stage] - half[stage] == pytest.approx(2 * SD15_LIKE.frozen / 2**30, abs=0.02)


def test_each_card_gets_the_quickest_settings_that_fit():
    fitting = settings_that_fit(SD15_LIKE, Workload())
    assert fitting["24 GB"]["model.gradient_checkpointing"] is False
    assert fitting["12 GB"]["model.gradient_checkpointing"] is True and fitting["12 GB"]["frames_at_once"] == 101
    for card, size in (("6 GB", 6), ("8 GB", 8), ("12 GB", 12), ("24 GB", 24)):
        chosen = fitting[card]
        work = Workload(
            batch_frames=chosen.get("data.batch_frames", 8),
            gradient_checkpointing=chosen["model.gradient_checkpointing"],
            dtype=chosen["model.dtype"],
            frame_chunk=chosen["sampling.frame_chunk"],
            num_frames=chosen["frames_at_once"],
            offload=chosen.get("model.offload", False),
        )
        assert max(SD15_LIKE.stages(work).values()) <= size
    assert 0 < fitting["6 GB"]["frames_at_once"] < fitting["8 GB"]["frames_at_once"] <= 101
    assert fitting["6 GB"]["model.offload"] and "model.offload" not in fitting["24 GB"]
    assert settings_that_fit(replace(SD15_LIKE, frozen=10**11), Workload()) == dict.fromkeys(fitting)


def test_no_memory_is_taken_for_the_count():
    """Full size, whose weights alone would be 5 GiB: nothing of it is ever there."""
    torch.manual_seed(0)
    settings = ModelSettings(name="sd15", base="x", random_seed=0)
    count = count_memory(settings, resolution=512, precision="bf16-mixed")
    assert count.trained == 72_130_240
    import resource

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 4 * 2**30
