"""The sampler (Sec. 4, Fig. 1): from a fine-tuned backbone and target poses to a video, in the paper's steps.

Dimensions: N training frames, M target poses, F sampled frames, C channels, H×W pixels, h×w latent cells.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from src.common.progress import track
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel, to_unit_range
from src.pose.draw import draw_poses
from src.pose.keypoints import PoseSequence
from src.sampling.ddim import PredictNoise, ddim_invert, ddim_sample
from src.sampling.latent_editing import Edit, apply_edits, plan_edits
from src.sampling.reference import cut_segments, pose_distances, select_reference
from src.sampling.settings import NUM_TRAIN_TIMESTEPS, MethodSettings, SamplingSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplingJob:
    """What to film.

    Attributes:
        training_frames: (N, H, W, 3) uint8 RGB, the frames that the model was fine-tuned on.
        training_poses: their N poses.
        target_poses: M poses.
        source_prompt: p_s, the prompt of the fine-tune, used for the inversion.
        target_prompt: p_t, used for sampling.
        seed: of the noise latent, where `init=noise`.
    """

    training_frames: np.ndarray
    training_poses: PoseSequence
    target_poses: PoseSequence
    source_prompt: str
    target_prompt: str
    seed: int = 0

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.training_frames.shape[1:3]


@dataclass(frozen=True)
class Reference:
    """The reference frame of a segment of the target poses and what was done with it.

    Attributes:
        index: r in [0, N).
        distances: (N,) the sums of Eq. 5, in squared units of the frame.
        skipped: target frames in which each piece was not edited.
        num_edits: rectangles pasted.
        num_frames: length of the segment.
    """

    index: int
    distances: np.ndarray
    skipped: Counter
    num_edits: int
    num_frames: int


def describe_references(references: Sequence[Reference]) -> dict:
    """What `reference.json` holds, of segments in the order of time.

    `reference_frame` and `distances` are those of the longest segment, the first of equals; `edits` and `skipped` sum
    over all. A training pose that shares no keypoint has distance null.
    """
    longest = max(references, key=lambda reference: reference.num_frames)
    segments, first = [], 0
    for reference in references:
        last = first + reference.num_frames - 1
        segments.append({"frames": [first, last], "reference_frame": reference.index})
        first = last + 1
    return {
        "reference_frame": longest.index,
        "distances": [float(d) if np.isfinite(d) else None for d in longest.distances],
        "edits": sum(r.num_edits for r in references),
        "skipped": {piece: sum(r.skipped[piece] for r in references) for piece in references[0].skipped},
        "segments": segments,
    }


class Sampler:
    """Steps 1 to 6 of `method.md` §3; every technique by its switch.

    Args:
        image_model: encodes, decodes and holds the scheduler.
        backbone: fine-tuned, on its device, in evaluation mode.
        method: the techniques.
        sampling: steps, guidance, chunks.
    """

    def __init__(
        self, image_model: ImageModel, backbone: VideoBackbone, method: MethodSettings, sampling: SamplingSettings
    ) -> None:
        self.image_model = image_model
        self.backbone = backbone
        self.method = method
        self.sampling = sampling

    @torch.no_grad()
    def sample_latents(self, job: SamplingJob) -> tuple[Tensor, Reference]:
        """Clean latents (M, C, h, w) of the target poses from one reference frame, and the reference used."""
        # 1. Reference frame (Eq. 5).
        r, distances = self._choose_reference(job)
        reference_pose = job.training_poses[r]

        # 2. Initial latent (Eq. 4).
        clean_Chw = self.image_model.encode_frames(job.training_frames[r : r + 1])[0]
        with self.backbone.chunked(self.sampling.frame_chunk):
            trajectory = self._initial_trajectory(clean_Chw, reference_pose, job)
        z_r_Chw = trajectory[-1]

        # 3. Insertion: the reference pose becomes frame 0, the key frame.
        inserted = int(self.method.reference_insertion)
        poses = PoseSequence.concatenate(reference_pose, job.target_poses) if inserted else job.target_poses
        latents_FChw = z_r_Chw.expand(len(poses), *z_r_Chw.shape).contiguous()

        # 4. Latent editing (Eqs. 6, 7); frame 0 of an insertion is never edited.
        editing = self.method.latent_editing
        height, width = z_r_Chw.shape[-2:]
        edits, skipped = plan_edits(reference_pose, job.target_poses, tuple(editing.parts), width, height)
        edit_step = self._edit_step()
        if any(skipped.values()):
            log.info("latent editing skipped, of %d frames: %s", len(job.target_poses), dict(skipped))

        def edit_latents(latents_1FChw: Tensor, step: int) -> Tensor:
            if step != edit_step or not edits:
                return latents_1FChw
            return self._edited(latents_1FChw, trajectory[len(trajectory) - 1 - step], edits, inserted)

        # 5. DDIM sampling with guidance.
        with self.backbone.chunked(self.sampling.frame_chunk):
            latents_1FChw = ddim_sample(
                latents_FChw[None],
                self._noise_predictor(poses, job.image_size, job.target_prompt, self.sampling.guidance_scale),
                self.image_model.scheduler,
                self.sampling.num_steps,
                edit_latents=edit_latents,
                progress=track,
            )
        return latents_1FChw[0, inserted:], Reference(r, distances, skipped, len(edits), len(job.target_poses))

    def sample(self, job: SamplingJob) -> tuple[np.ndarray, list[Reference]]:
        """Frames (M, H, W, 3) uint8 RGB of the target poses, and the reference of each of their segments."""
        sampled = [self.sample_latents(segment) for segment in self._segments(job)]
        latents_MChw = torch.cat([latents for latents, _ in sampled])
        # 6. Decode, a chunk at a time.
        chunk = self.sampling.frame_chunk or len(latents_MChw)
        parts = [latents_MChw[start : start + chunk] for start in range(0, len(latents_MChw), chunk)]
        frames = [self.image_model.decode_latents(part) for part in track(parts, "decoding")]
        return np.concatenate(frames), [reference for _, reference in sampled]

    def _segments(self, job: SamplingJob) -> list[SamplingJob]:
        """The job, cut where the target poses need another reference frame."""
        if self.method.reference == "single":
            return [job]
        cuts = cut_segments(job.training_poses, job.target_poses, min_frames=self.method.min_segment_frames)
        log.info("segments with a reference frame each: %s", ", ".join(f"{a}-{b - 1}" for a, b in cuts))
        return [replace(job, target_poses=job.target_poses[first:stop]) for first, stop in cuts]

    def _choose_reference(self, job: SamplingJob) -> tuple[int, np.ndarray]:
        if not self.method.reference_selection:
            return 0, pose_distances(job.training_poses, job.target_poses)
        r, distances = select_reference(job.training_poses, job.target_poses)
        log.info("reference frame: training frame %d of %d (Eq. 5)", r, len(distances))
        return r, distances

    def _initial_trajectory(self, clean_Chw: Tensor, pose: PoseSequence, job: SamplingJob) -> list[Tensor]:
        """Latents of the reference frame from Z_0 to Z_T; a lone Z_T where the start is noise."""
        if self.method.init == "noise":
            generator = torch.Generator().manual_seed(job.seed)
            return [torch.randn(clean_Chw.shape, generator=generator).to(clean_Chw)]
        trajectory = ddim_invert(
            clean_Chw[None, None],
            self._noise_predictor(pose, job.image_size, job.source_prompt, 1.0),
            self.image_model.scheduler,
            self.sampling.num_steps,
            progress=track,
        )
        return [latents_11Chw[0, 0] for latents_11Chw in trajectory]

    def _noise_predictor(
        self, poses: PoseSequence, size: tuple[int, int], prompt: str, guidance_scale: float
    ) -> PredictNoise:
        """ε_θ with classifier-free guidance; the two branches run one after the other, which halves the memory."""
        device = next(self.backbone.parameters()).device
        poses_1FCHW = to_unit_range(draw_poses(poses, size))[None].to(device)
        cond = self.image_model.encode_prompt(prompt).to(device)
        if guidance_scale != 1:
            uncond = self.image_model.encode_prompt(self.sampling.negative_prompt).to(device)

        def predict_noise(latents_1FChw: Tensor, timestep: int) -> Tensor:
            noise = self.backbone(latents_1FChw, timestep, poses_1FCHW, cond).float()
            if guidance_scale == 1:
                return noise
            noise_uncond = self.backbone(latents_1FChw, timestep, poses_1FCHW, uncond).float()
            return noise_uncond + guidance_scale * (noise - noise_uncond)

        return predict_noise

    def _edit_step(self) -> int:
        """Index of the sampling step before which the edit is made."""
        timestep = self.method.latent_editing.timestep
        if timestep == NUM_TRAIN_TIMESTEPS:
            return 0
        scheduler = self.image_model.scheduler
        scheduler.set_timesteps(self.sampling.num_steps)
        reached = [step for step, t in enumerate(scheduler.timesteps.tolist()) if t <= timestep]
        return reached[0] if reached else len(scheduler.timesteps) - 1

    def _edited(self, latents_1FChw: Tensor, reference_Chw: Tensor, edits: list[Edit], inserted: int) -> Tensor:
        editing = self.method.latent_editing
        targets_MChw = apply_edits(
            latents_1FChw[0, inserted:],
            reference_Chw,
            edits,
            interpolation=editing.interpolation,
            preserve_variance=editing.preserve_variance,
        )
        return torch.cat([latents_1FChw[:, :inserted], targets_MChw[None]], 1)
