"""The sampler's steps (Sec. 4, Fig. 1) written out, against the sampler: each of them at its place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from src.pose.keypoints import PoseSequence
from src.sampling.ddim import ddim_invert
from src.sampling.latent_editing import apply_edits, plan_edits
from src.sampling.noise_predictor import embed_pose_sequence
from src.sampling.sampler import Sampler
from src.sampling.settings import LatentEditingSettings, MethodSettings
from tests.conftest import FAST


@pytest.fixture
def wide_job(job):
    """Frames of 64x128, other prompts than the source's, and target poses nearest to training frame 2."""
    clip = job.clip
    wide = replace(
        clip,
        frames=np.concatenate([clip.frames, clip.frames[:, :, ::-1]], 2),
        poses=clip.poses.transformed((0.5, 1.0), (0.0, 0.0)),
    )
    targets = job.target_poses.transformed((0.5, 1.0), (0.1, 0.0))
    return replace(
        job,
        clip=wide,
        target_poses=PoseSequence.concatenate(wide.poses[2], targets[0]),
        target_prompt="a man with red hair",
        sampling=replace(FAST, negative_prompt="a blurred picture"),
    )


@pytest.mark.parametrize(("timestep", "edited_at", "iterations"), [(1000, 751, 1), (501, 501, 2)])
@torch.no_grad()
def test_the_steps_of_the_paper_by_hand(tiny, backbone, wide_job, timestep, edited_at, iterations):
    method = MethodSettings(latent_editing=LatentEditingSettings(timestep=timestep))
    sampling = replace(wide_job.sampling, inversion_iterations=iterations)
    job = replace(wide_job, method=method, sampling=sampling)
    found, reference = Sampler(tiny, backbone, [job]).sample_latents(job)
    r, scheduler = reference.index, tiny.scheduler
    assert r > 0 and reference.num_edits > 0

    def conditioned(poses, *prompts):
        embedded = embed_pose_sequence(backbone, poses, (64, 128))
        return backbone.condition(embedded, *(tiny.encode_prompt(prompt) for prompt in prompts))

    own = conditioned(job.clip.poses[r], "a person")
    clean = tiny.encode_frames(job.clip.frames[r : r + 1])[None]
    trajectory = ddim_invert(clean, lambda z, t: backbone(z, t, own), scheduler, 4, iterations=iterations)
    inverted = dict(zip((0, 1, 251, 501, 751), trajectory, strict=True))
    poses = PoseSequence.concatenate(job.clip.poses[r], job.target_poses)
    both = conditioned(poses, "a blurred picture", "a man with red hair")
    edits, _ = plan_edits(job.clip.poses[r], job.target_poses, ("face", "left_hand", "right_hand"), 16, 8)
    latents = inverted[751].repeat(1, 3, 1, 1, 1)
    for t in scheduler.timesteps.tolist():
        if t == edited_at:
            latents[0, 1:] = apply_edits(latents[0, 1:], inverted[t][0, 0], edits)
        negative, positive = backbone(latents, t, both).split(1)
        latents = scheduler.step(negative + 2 * (positive - negative), t, latents, eta=0.0).prev_sample
    torch.testing.assert_close(found, latents[0, 1:], rtol=0, atol=1e-5)
