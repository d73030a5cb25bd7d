"""The sampler (Sec. 4, Fig. 1): from a fine-tuned backbone and target poses to a video, in the paper's steps.

Dimensions: N training frames, M target poses, F sampled frames, C channels, H×W pixels, h×w latent cells.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple, cast

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from src.common.arrays import collected
from src.common.counting import counted
from src.common.progress import track
from src.models.backbone import VideoBackbone
from src.models.ddim_steps import NUM_TRAIN_TIMESTEPS
from src.models.image_model import ImageModel
from src.models.offload import offloaded
from src.pose.keypoints import PoseSequence
from src.sampling.ddim import ddim_invert, ddim_sample
from src.sampling.jobs import GenerationJob, Reference, merged
from src.sampling.latent_editing import Edit, apply_edits, plan_edits
from src.sampling.noise_predictor import NoisePredictor, embed_images, embed_pose_sequence
from src.sampling.reference import cut_segments, pose_distances, select_reference
from src.sampling.settings import EXACT, ApproximationSettings

log = logging.getLogger(__name__)


def segments_of(job: GenerationJob) -> list[GenerationJob]:
    """The job, cut where the target poses need another reference frame."""
    if job.method.references == "one":
        return [job]
    cuts = cut_segments(job.clip.poses, job.target_poses, min_frames=job.method.min_segment_frames)
    log.info("segments with a reference frame each: %s", ", ".join(f"{a}-{b - 1}" for a, b in cuts))
    return [job.part(slice(first, stop)) for first, stop in cuts]


class Window(NamedTuple):
    """Target poses that are sampled together: all of a segment, or a part of it."""

    segment: int
    job: GenerationJob


def windows_of(segment: int, job: GenerationJob) -> list[Window]:
    """A segment, cut into as few windows of nearly one length as `sampling.window_frames` allows."""
    frames, most = len(job.target_poses), job.sampling.window_frames
    count = 1 if most is None else -(-frames // most)
    cuts = [i * frames // count for i in range(count + 1)]
    return [Window(segment, job.part(slice(a, b))) for a, b in pairwise(cuts)]


@dataclass(frozen=True, eq=False)
class _Start:
    """What all windows of a segment begin with.

    Attributes:
        index: r in [0, N); distances: (N,), those of Eq. 5 over the segment.
        trajectory: latents (C, h, w) of the reference frame from Z_0 to Z_T; a lone Z_T where the start is noise.
    """

    index: int
    distances: np.ndarray
    trajectory: list[Tensor]


class Sampler(LightningModule):
    """Steps 1 to 6 of sampling (`ARCHITECTURE.md`), every technique by its switch; a batch is a window of the targets.

    Args:
        image_model: encodes, decodes and holds the scheduler.
        backbone: fine-tuned.
        segments: of one job, in the order of time (`segments_of`).

    Attributes:
        windows: of the segments, in that order.
        done: how many of them, the first, are not sampled.
    """

    def __init__(self, image_model: ImageModel, backbone: VideoBackbone, segments: Sequence[GenerationJob]) -> None:
        super().__init__()
        self.image_model = image_model
        self.backbone = backbone
        # Registered so that the Trainer moves them with the backbone.
        self.encoders = nn.ModuleDict({"vae": image_model.vae, "text_encoder": image_model.text_encoder})
        self.segments = segments
        self.windows = [window for number, job in enumerate(segments) for window in windows_of(number, job)]
        self.done = 0
        self._begun: tuple[int, _Start] | None = None

    @contextlib.contextmanager
    def offloaded(self, device: torch.device) -> Iterator[bool]:
        """Within the block, weights wait where `model.offload` asks for it (`src/models/offload.py`): whether."""
        with offloaded(self.image_model, device) as waiting:
            if waiting:
                # Lightning moves, and sets to evaluation, what is registered.
                self.backbone.eval()
                for name in ("backbone", "encoders"):
                    self.__dict__[name] = self._modules.pop(name)
            yield waiting

    def predict_dataloader(self) -> DataLoader:
        """Numbers of the windows that are to be sampled."""
        return DataLoader(cast("Dataset[int]", range(self.done, len(self.windows))), batch_size=None)

    def predict_step(self, window: int, batch_idx: int) -> np.ndarray:
        """Frames (L, H, W, 3) uint8 RGB of a window's L target poses."""
        segment, job = self.windows[window]
        if self._begun is None or self._begun[0] != segment:
            # Once a segment: its windows share reference frame, distances and inversion.
            self._begun = segment, self._begin(self.segments[segment])
        if len(self.windows) > len(self.segments):
            log.info("window %d of %d: %s", window + 1, len(self.windows), counted(len(job.target_poses), "frame"))
        latents_LChw, _ = self._sample(job, self._begun[1])
        if window + 1 == len(self.windows) or self.windows[window + 1].segment != segment:
            # A preview comes again with other weights.
            self._begun = None
        # 6. Decode, a frame at a time: of all stages this one takes the most memory a frame. Many wait on disk.
        decoded = (self.image_model.decode_latents(part)[0] for part in track(latents_LChw.split(1), "decoding"))
        return collected(decoded, len(latents_LChw), job.image_size)

    def references(self) -> tuple[Reference, ...]:
        """The reference of each segment and what is done with it, whether or not it was sampled here."""
        found = []
        for number, segment in enumerate(self.segments):
            r, distances = _choose_reference(segment)
            jobs = [window.job for window in self.windows if window.segment == number]
            found.append(merged([self._reference(job, r, distances) for job in jobs]))
        return tuple(found)

    @torch.no_grad()
    def sample_latents(self, job: GenerationJob) -> tuple[Tensor, Reference]:
        """Clean latents (M, C, h, w) of the target poses from one reference frame, and the reference used."""
        return self._sample(job, self._begin(job))

    @torch.no_grad()
    def _begin(self, job: GenerationJob) -> _Start:
        # 1. Reference frame (Eq. 5).
        r, distances = _choose_reference(job)
        if job.method.reference_selection:
            log.info("reference frame: number %d of 0 to %d (Eq. 5)", r, len(distances) - 1)

        # 2. Initial latent (Eq. 4).
        clean_Chw = self.image_model.encode_frames(job.clip.frames[r : r + 1])[0]
        return _Start(r, distances, self._initial_trajectory(clean_Chw, r, job))

    @torch.no_grad()
    def _sample(self, job: GenerationJob, start: _Start) -> tuple[Tensor, Reference]:
        reference_pose, trajectory = job.clip.poses[start.index], start.trajectory
        z_r_Chw = trajectory[-1]

        # 3. Insertion: the reference pose becomes frame 0, the key frame.
        inserted = int(job.method.reference_insertion)
        poses = PoseSequence.concatenate(reference_pose, job.target_poses) if inserted else job.target_poses
        latents_FChw = z_r_Chw.expand(len(poses), *z_r_Chw.shape).contiguous()

        # 4. Latent editing (Eqs. 6, 7); frame 0 of an insertion is never edited.
        edits, skipped = self._plan_edits(job, start.index)
        edit_step = self._edit_step(job)
        if any(skipped.values()):
            told = ", ".join(f"{piece} in {count}" for piece, count in skipped.items() if count)
            log.info(
                "latent editing: %s of %s left as they are, where a pose shows too little",
                told,
                counted(len(job.target_poses), "frame"),
            )

        def edit_latents(latents_1FChw: Tensor, step: int) -> Tensor:
            if step != edit_step or not edits:
                return latents_1FChw
            return _edited(job, latents_1FChw, trajectory[len(trajectory) - 1 - step], edits, inserted)

        # 5. DDIM sampling with guidance.
        latents_1FChw = ddim_sample(
            latents_FChw[None],
            self._noise_predictor(
                *(job, poses, job.target_prompt, self._conditions(job, start.index)),
                guidance_scale=job.sampling.guidance_scale,
                approximation=job.sampling.approximation,
            ),
            self.image_model.scheduler,
            job.sampling.num_steps,
            edit_latents=edit_latents,
            progress=track,
        )
        reference = Reference(start.index, start.distances, skipped, len(edits), len(job.target_poses))
        return latents_1FChw[0, inserted:], reference

    def _conditions(self, job: GenerationJob, r: int) -> list[Iterable[np.ndarray] | None]:
        """Of each ControlNet beside the pose one its images of the poses that are sampled."""
        inserted = int(job.method.reference_insertion)
        pairs = zip(job.clip.conditions, job.target_conditions, strict=True)
        return [None if target is None else chain(own[r : r + inserted], target) for own, target in pairs]

    def _plan_edits(self, job: GenerationJob, r: int) -> tuple[list[Edit], Counter]:
        height, width = (side // self.image_model.downsampling for side in job.image_size)
        parts = tuple(job.method.latent_editing.parts)
        return plan_edits(job.clip.poses[r], job.target_poses, parts, width, height)

    def _reference(self, job: GenerationJob, r: int, distances: np.ndarray) -> Reference:
        edits, skipped = self._plan_edits(job, r)
        return Reference(r, distances, skipped, len(edits), len(job.target_poses))

    def _initial_trajectory(self, clean_Chw: Tensor, r: int, job: GenerationJob) -> list[Tensor]:
        """Latents of the reference frame from Z_0 to Z_T; a lone Z_T where the start is noise."""
        if job.method.init == "noise":
            generator = torch.Generator().manual_seed(job.seed)
            return [torch.randn(clean_Chw.shape, generator=generator).to(clean_Chw)]
        trajectory = ddim_invert(
            clean_Chw[None, None],
            # Of one frame and one prompt, at a hundredth of the cost: never approximated.
            self._noise_predictor(job, job.clip.poses[r], job.clip.prompt, [c[r : r + 1] for c in job.clip.conditions]),
            self.image_model.scheduler,
            job.sampling.num_steps,
            iterations=job.sampling.inversion_iterations,
            progress=track,
        )
        return [latents_11Chw[0, 0] for latents_11Chw in trajectory]

    def _noise_predictor(
        self,
        job: GenerationJob,
        poses: PoseSequence,
        prompt: str,
        conditions: Sequence[Iterable[np.ndarray] | None],
        *,
        guidance_scale: float = 1.0,
        approximation: ApproximationSettings = EXACT,
    ) -> NoisePredictor:
        guided = guidance_scale != 1
        scales = job.sampling.scales_beside(self.backbone.scales)
        embedded = [
            None if images is None or not scale else embed_images(self.backbone, number, images)
            for number, (images, scale) in enumerate(zip(conditions, scales, strict=True))
        ]
        return NoisePredictor(
            self.backbone,
            embed_pose_sequence(self.backbone, poses, job.image_size),
            self.image_model.encode_prompt(prompt),
            unconditional_1TE=self.image_model.encode_prompt(job.sampling.negative_prompt) if guided else None,
            guidance_scale=guidance_scale,
            frame_chunk=job.sampling.frame_chunk,
            approximation=approximation,
            conditioning_scale=job.sampling.conditioning_scale,
            controls=self.backbone.controls(embedded, scales),
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


def _choose_reference(job: GenerationJob) -> tuple[int, np.ndarray]:
    """r and the distances of Eq. 5; without selection the first training frame."""
    if not job.method.reference_selection:
        return 0, pose_distances(job.clip.poses, job.target_poses)
    return select_reference(job.clip.poses, job.target_poses)


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
