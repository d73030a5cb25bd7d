from dataclasses import replace

import numpy as np
import pytest
import torch

from src.common.errors import UserError
from src.common.typed import typed
from src.sampling.ddim import ddim_invert, ddim_sample
from src.sampling.generate import generate
from src.sampling.jobs import describe_references
from src.sampling.sampler import Sampler
from src.sampling.settings import ApproximationSettings, LatentEditingSettings, MethodSettings, SamplingSettings
from tests.conftest import CPU, FAST

NO_EDITING = LatentEditingSettings(parts=[])
CONTROLVIDEO = MethodSettings(
    name="controlvideo", reference_selection=False, reference_insertion=False, latent_editing=NO_EDITING
)


@pytest.fixture
def make_latents(tiny, backbone, job):
    def make(method: MethodSettings, sampling: SamplingSettings = FAST, **changes):
        wanted = replace(job, method=method, sampling=sampling, **changes)
        return Sampler(tiny, backbone, [wanted]).sample_latents(wanted)

    return make


def test_every_technique_changes_the_result_and_none_changes_its_shape(make_latents):
    variants = {
        "controlvideo": CONTROLVIDEO,
        "selection": replace(CONTROLVIDEO, reference_selection=True),
        "insertion": replace(CONTROLVIDEO, reference_insertion=True),
        "editing": replace(CONTROLVIDEO, latent_editing=LatentEditingSettings()),
        "noise": replace(CONTROLVIDEO, init="noise"),
        "posecrafter": MethodSettings(),
    }
    latents = {name: make_latents(method)[0] for name, method in variants.items()}
    assert {tuple(z.shape) for z in latents.values()} == {(3, 4, 8, 8)}
    names = list(latents)
    same = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if torch.allclose(latents[a], latents[b])]
    assert not same


def test_the_same_job_gives_the_same_video(make_latents):
    for method in (MethodSettings(), replace(CONTROLVIDEO, init="noise")):
        torch.manual_seed(0)
        first, _ = make_latents(method)
        torch.manual_seed(1)
        assert torch.equal(first, make_latents(method)[0])
    other, _ = make_latents(replace(CONTROLVIDEO, init="noise"), seed=1)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("frame_chunk", [1, 3])
def test_chunks_do_not_change_the_video(make_latents, frame_chunk):
    whole, _ = make_latents(MethodSettings())
    chunked, _ = make_latents(MethodSettings(), replace(FAST, frame_chunk=frame_chunk))
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-3)


def test_what_is_left_out_changes_the_video_and_nothing_is_by_default(make_latents):
    exact, _ = make_latents(MethodSettings())
    off, _ = make_latents(MethodSettings(), replace(FAST, approximation=ApproximationSettings()))
    assert torch.equal(off, exact)
    for change in ({"features_every": 2}, {"guidance_every": 2}, {"guided_timesteps": (0, 600)}):
        less, _ = make_latents(MethodSettings(), replace(FAST, approximation=ApproximationSettings(**change)))
        assert not torch.allclose(less, exact), change


def test_the_conditioning_scale_of_sampling_stands_before_the_models(make_latents, backbone):
    """Inversion and sampling: as if the model had been built with it; the next job has the model's again."""
    before, _ = make_latents(MethodSettings())
    scaled, _ = make_latents(MethodSettings(), replace(FAST, conditioning_scale=0.3))
    assert torch.equal(make_latents(MethodSettings())[0], before)
    backbone.conditioning_scale = 0.3
    assert torch.equal(make_latents(MethodSettings())[0], scaled) and not torch.allclose(scaled, before)


@torch.no_grad()
def test_the_reference_is_rebuilt_from_its_inversion(tiny, backbone):
    """Invert, then sample with the same pose and no guidance: what is lost is the discretisation alone."""
    generator = torch.Generator().manual_seed(0)
    clean, pose = torch.randn(1, 1, 4, 8, 8, generator=generator), torch.rand(1, 1, 3, 64, 64, generator=generator)
    text = tiny.encode_prompt("a person")

    conditioning = backbone.prepare(pose, text)

    def predict(latents, timestep):
        return backbone(latents, timestep, conditioning)

    errors = []
    for num_steps in (20, 200):
        noise = ddim_invert(clean, predict, tiny.scheduler, num_steps)[-1]
        rebuilt = ddim_sample(noise, predict, tiny.scheduler, num_steps)
        errors.append(float((rebuilt - clean).square().mean().sqrt()))
    assert errors[1] < errors[0] / 4 and errors[1] < 0.2, errors


def test_the_inserted_frame_is_dropped_and_never_edited(make_latents, job):
    with_insertion = MethodSettings(latent_editing=NO_EDITING)
    latents, reference = make_latents(with_insertion)
    assert len(latents) == len(job.target_poses) and reference.num_edits == 0


def test_selection_finds_a_training_pose(make_latents, job):
    _, reference = make_latents(MethodSettings(), target_poses=job.clip.poses[2])
    assert reference.index == 2 and np.argmin(reference.distances) == 2
    _, first = make_latents(CONTROLVIDEO, target_poses=job.clip.poses[2])
    assert first.index == 0 and np.argmin(first.distances) == 2


def test_editing_below_T_uses_the_latent_of_that_timestep(make_latents):
    late = MethodSettings(latent_editing=LatentEditingSettings(timestep=500))
    at_T, late_latents = make_latents(MethodSettings())[0], make_latents(late)[0]
    without = make_latents(MethodSettings(latent_editing=NO_EDITING))[0]
    assert not torch.allclose(late_latents, at_T) and not torch.allclose(late_latents, without)


def test_each_segment_is_generated_from_its_own_reference(tiny, backbone, job):
    """The same frames as of each segment alone; with one segment, the same as with one reference."""
    order = [0] * 3 + [3] * 3
    several = MethodSettings(references="per_segment", min_segment_frames=3)
    varied = replace(job, method=several, target_poses=job.clip.poses[order])
    whole = generate(varied, tiny, backbone, CPU)
    assert [reference.index for reference in whole.references] == [0, 3]
    for part in (slice(0, 3), slice(3, 6)):
        alone = generate(replace(job, target_poses=varied.target_poses[part]), tiny, backbone, CPU)
        assert np.array_equal(whole.frames[part], alone.frames)
    record = describe_references(whole.references)
    assert [segment["frames"] for segment in record["segments"]] == [[0, 2], [3, 5]]
    assert [segment["reference_frame"] for segment in record["segments"]] == [0, 3]
    assert record["reference_frame"] == 0 and set(record["skipped"]) == {"face", "left_hand", "right_hand"}
    few = generate(replace(job, method=several), tiny, backbone, CPU)
    assert np.array_equal(few.frames, generate(job, tiny, backbone, CPU).frames)
    assert [reference.num_frames for reference in few.references] == [len(few.frames)]


def test_windows_share_the_reference_of_their_segment(tiny, backbone, job, monkeypatch):
    """Each is a clip of its own, with the reference frame and the inversion of all target poses."""
    inversions = []
    monkeypatch.setattr(
        "src.sampling.sampler.ddim_invert",
        lambda *args, **options: inversions.append(1) or ddim_invert(*args, **options),
    )
    # All together are nearest to training frame 3, the first alone to 0.
    targets = job.clip.poses[[0, 3, 3, 3, 3]]
    whole = replace(job, target_poses=targets)
    cut = replace(whole, sampling=replace(FAST, window_frames=2))
    windows = generate(cut, tiny, backbone, CPU)
    assert len(inversions) == 1
    assert [len(window.job.target_poses) for window in Sampler(tiny, backbone, [cut]).windows] == [1, 2, 2]
    [reference], [of_all] = windows.references, generate(whole, tiny, backbone, CPU).references
    assert reference.index == of_all.index == 3 and np.array_equal(reference.distances, of_all.distances)
    assert (reference.num_frames, reference.num_edits, reference.skipped) == (5, of_all.num_edits, of_all.skipped)
    # The same pose from another reference is another picture: the first window has not chosen its own.
    first = generate(replace(job, target_poses=targets[:1]), tiny, backbone, CPU)
    assert first.references[0].index == 0 and not np.array_equal(windows.frames[:1], first.frames)
    last = generate(replace(job, target_poses=targets[3:]), tiny, backbone, CPU)
    assert last.references[0].index == 3 and np.array_equal(windows.frames[3:], last.frames)
    as_one = generate(replace(whole, sampling=replace(FAST, window_frames=5)), tiny, backbone, CPU)
    assert np.array_equal(as_one.frames, generate(whole, tiny, backbone, CPU).frames)


def test_a_preview_of_weights_that_were_trained_meanwhile_inverts_anew(tiny, backbone, job):
    sampler = Sampler(tiny, backbone, [job])
    before = sampler.predict_step(0, 0)
    with torch.no_grad():
        for parameter in backbone.trainable_state().values():
            parameter.mul_(1.3)
    after = sampler.predict_step(0, 0)
    assert np.array_equal(after, Sampler(tiny, backbone, [job]).predict_step(0, 0))
    assert not np.array_equal(after, before)


def test_a_generated_clip_says_what_it_is_of(tiny, backbone, job):
    clip = generate(job, tiny, backbone, CPU)
    assert clip.frames.shape == (3, 64, 64, 3) and clip.frames.dtype == np.uint8 and clip.fps == job.fps
    assert clip.poses is job.target_poses
    assert np.array_equal(clip.reference_frame, job.clip.frames[clip.references[0].index])
    assert (clip.cost["frames"], clip.cost["num_steps"], clip.cost["guidance_scale"]) == (3, 4, 2.0)


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (LatentEditingSettings, {"parts": ["nose"]}, r"parts=nose is unknown: choose one of .*face"),
        (LatentEditingSettings, {"timestep": 0}, "timestep=0 is not in 1 to 1000"),
        (LatentEditingSettings, {"interpolation": "cubic"}, "interpolation=cubic is unknown: choose 'bilinear' or "),
        (MethodSettings, {"init": "zeros"}, "method.init=zeros is unknown: choose 'inversion' or 'noise'"),
        (MethodSettings, {"init": "noise", "latent_editing": {"timestep": 5}}, "set method.init="),
        (MethodSettings, {"references": "nearest"}, "method.references=nearest is unknown: choose 'one' or 'per_seg"),
        (MethodSettings, {"reference_selection": False, "references": "per_segment"}, "selects by Eq. 5"),
        (MethodSettings, {"min_segment_frames": 0}, "min_segment_frames=0 must be at least 1"),
        (SamplingSettings, {"num_steps": 0}, "sampling.num_steps=0 is not in 1 to 999"),
        (SamplingSettings, {"guidance_scale": 0.5}, "sampling.guidance_scale=0.5 must be at least 1"),
        (SamplingSettings, {"frame_chunk": 0}, "frame_chunk=0 must be at least 1"),
        (SamplingSettings, {"window_frames": 0}, "sampling.window_frames=0 must be at least 1"),
        (SamplingSettings, {"conditioning_scale": -1.0}, "sampling.conditioning_scale=-1.0 must be at least 0"),
        (SamplingSettings, {"approximation": {"features_every": 0}}, "approximation.features_every=0 must be at least"),
    ],
)
def test_settings_that_make_no_sense_are_refused(cls, changes, message):
    where = "sampling" if cls is SamplingSettings else "method"
    with pytest.raises(UserError, match=message):
        typed(cls, changes, where)


@pytest.mark.parametrize("window_frames", [None, 2])
def test_many_frames_wait_on_disk_from_the_decoder_on(tiny, backbone, job, monkeypatch, window_frames):
    job = replace(job, sampling=replace(FAST, window_frames=window_frames))
    held = generate(job, tiny, backbone, CPU).frames
    monkeypatch.setattr("src.common.arrays.HELD_BYTES", 0)
    waiting = generate(job, tiny, backbone, CPU).frames
    assert isinstance(waiting, np.memmap) and not isinstance(held, np.memmap)
    assert np.array_equal(waiting, held)
