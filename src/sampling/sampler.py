"""The sampler (Sec. 4, Fig. 1): from a fine-tuned backbone and target poses to a video, in the paper's steps.

Dimensions: N training frames, M target poses, F sampled frames, C channels, H×W pixels, h×w latent cells.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from src.common.progress import track
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.pose.keypoints import PoseSequence
from src.sampling.ddim import ddim_invert, ddim_sample
from src.sampling.jobs import GenerationJob, Reference
from src.sampling.latent_editing import Edit, apply_edits, plan_edits
from src.sampling.noise_predictor import NoisePredictor, embed_pose_sequence
from src.sampling.reference import cut_segments, pose_distances, select_reference
from src.sampling.settings import EXACT, NUM_TRAIN_TIMESTEPS, ApproximationSettings

log = logging.getLogger(__name__)


def segments_of(job: GenerationJob) -> list[GenerationJob]:
    """The job, cut where the target poses need another reference frame."""
    if job.method.references == "one":
        return [job]
    cuts = cut_segments(job.clip.poses, job.target_poses, min_frames=job.method.min_segment_frames)
    log.info("segments with a reference frame each: %s", ", ".join(f"{a}-{b - 1}" for a, b in cuts))
    return [replace(job, target_poses=job.target_poses[first:stop]) for first, stop in cuts]


class Sampler(LightningModule):
    """Steps 1 to 6 of sampling (`ARCHITECTURE.md`), every technique by its switch; a batch is a segment of the targets.

    Args:
        image_model: encodes, decodes and holds the scheduler.
        backbone: fine-tuned.
        segments: of one job, in the order of time (`segments_of`).

    Attributes:
        references: of the segments that were sampled, in that order.
    """

    def __init__(self, image_model: ImageModel, backbone: VideoBackbone, segments: Sequence[GenerationJob]) -> None:
        super().__init__()
        self.image_model = image_model
        self.backbone = backbone
        # Registered so that the Trainer moves them with the backbone.
        self.encoders = nn.ModuleDict({"vae": image_model.vae, "text_encoder": image_model.text_encoder})
        self.segments = segments
        self.references: list[Reference] = []

    def predict_dataloader(self) -> DataLoader:
        """Numbers of the segments."""
        return DataLoader(cast("Dataset[int]", range(len(self.segments))), batch_size=None)

    def predict_step(self, segment: int, batch_idx: int) -> np.ndarray:
        """Frames (M, H, W, 3) uint8 RGB of a segment's target poses; its reference is added to `references`."""
        job = self.segments[segment]
        latents_MChw, reference = self.sample_latents(job)
        # 6. Decode, a frame at a time: of all stages this one takes the most memory a frame.
        parts = latents_MChw.split(1)
        self.references.append(reference)
        return np.concatenate([self.image_model.decode_latents(part) for part in track(parts, "decoding")])

    @torch.no_grad()
    def sample_latents(self, job: GenerationJob) -> tuple[Tensor, Reference]:
        """Clean latents (M, C, h, w) of the target poses from one reference frame, and the reference used."""
        # 1. Reference frame (Eq. 5).
        r, distances = self._choose_reference(job)
        reference_pose = job.clip.poses[r]

        # 2. Initial latent (Eq. 4).
        clean_Chw = self.image_model.encode_frames(job.clip.frames[r : r + 1])[0]
        trajectory = self._initial_trajectory(clean_Chw, reference_pose, job)
        z_r_Chw = trajectory[-1]

        # 3. Insertion: the reference pose becomes frame 0, the key frame.
        inserted = int(job.method.reference_insertion)
        poses = PoseSequence.concatenate(reference_pose, job.target_poses) if inserted else job.target_poses
        latents_FChw = z_r_Chw.expand(len(poses), *z_r_Chw.shape).contiguous()

        # 4. Latent editing (Eqs. 6, 7); frame 0 of an insertion is never edited.
        editing = job.method.latent_editing
        height, width = z_r_Chw.shape[-2:]
        edits, skipped = plan_edits(reference_pose, job.target_poses, tuple(editing.parts), width, height)
        edit_step = self._edit_step(job)
        if any(skipped.values()):
            log.info("latent editing skipped, of %d frames: %s", len(job.target_poses), dict(skipped))

        def edit_latents(latents_1FChw: Tensor, step: int) -> Tensor:
            if step != edit_step or not edits:
                return latents_1FChw
            return _edited(job, latents_1FChw, trajectory[len(trajectory) - 1 - step], edits, inserted)

        # 5. DDIM sampling with guidance.
        latents_1FChw = ddim_sample(
            latents_FChw[None],
            self._noise_predictor(
                *(job, poses, job.target_prompt),
                guidance_scale=job.sampling.guidance_scale,
                approximation=job.sampling.approximation,
            ),
            self.image_model.scheduler,
            job.sampling.num_steps,
            edit_latents=edit_latents,
            progress=track,
        )
        return latents_1FChw[0, inserted:], Reference(r, distances, skipped, len(edits), len(job.target_poses))

    def _choose_reference(self, job: GenerationJob) -> tuple[int, np.ndarray]:
        if not job.method.reference_selection:
            return 0, pose_distances(job.clip.poses, job.target_poses)
        r, distances = select_reference(job.clip.poses, job.target_poses)
        log.info("reference frame: training frame %d of %d (Eq. 5)", r, len(distances))
        return r, distances

    def _initial_trajectory(self, clean_Chw: Tensor, pose: PoseSequence, job: GenerationJob) -> list[Tensor]:
        """Latents of the reference frame from Z_0 to Z_T; a lone Z_T where the start is noise."""
        if job.method.init == "noise":
            generator = torch.Generator().manual_seed(job.seed)
            return [torch.randn(clean_Chw.shape, generator=generator).to(clean_Chw)]
        trajectory = ddim_invert(
            clean_Chw[None, None],
            # Of one frame and one prompt, at a hundredth of the cost: never approximated.
            self._noise_predictor(job, pose, job.clip.prompt),
            self.image_model.scheduler,
            job.sampling.num_steps,
            progress=track,
        )
        return [latents_11Chw[0, 0] for latents_11Chw in trajectory]

    def _noise_predictor(
        self,
        job: GenerationJob,
        poses: PoseSequence,
        prompt: str,
        *,
        guidance_scale: float = 1.0,
        approximation: ApproximationSettings = EXACT,
    ) -> NoisePredictor:
        guided = guidance_scale != 1
        return NoisePredictor(
            self.backbone,
            embed_pose_sequence(self.backbone, poses, job.image_size),
            self.image_model.encode_prompt(prompt),
            unconditional_1TE=self.image_model.encode_prompt(job.sampling.negative_prompt) if guided else None,
            guidance_scale=guidance_scale,
            frame_chunk=job.sampling.frame_chunk,
            approximation=approximation,
            conditioning_scale=job.sampling.conditioning_scale,
        )

    def _edit_step(self, job: GenerationJob) -> int:
        """Index of the sampling step before which the edit is made."""
        timestep = job.method.latent_editing.timestep
        if timestep == NUM_TRAIN_TIMESTEPS:
            return 0
        scheduler = self.image_model.scheduler
        scheduler.set_timesteps(job.sampling.num_steps)
        reached = [step for step, t in enumerate(scheduler.timesteps.tolist()) if t <= timestep]
        return reached[0] if reached else len(scheduler.timesteps) - 1


def _edited(
    job: GenerationJob, latents_1FChw: Tensor, reference_Chw: Tensor, edits: list[Edit], inserted: int
) -> Tensor:
    editing = job.method.latent_editing
    targets_MChw = apply_edits(
        latents_1FChw[0, inserted:],
        reference_Chw,
        edits,
        interpolation=editing.interpolation,
        preserve_variance=editing.preserve_variance,
    )
    return torch.cat([latents_1FChw[:, :inserted], targets_MChw[None]], 1)
