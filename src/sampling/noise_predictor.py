"""ε_θ with classifier-free guidance for a clip of poses: what does not depend on the timestep is computed once.

Dimensions: F frames, C channels, H×W pixels, h×w latent cells, T text tokens, E text channels.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from src.models.backbone import POSE_IMAGES_AT_ONCE, VideoBackbone
from src.models.chunking import ChunkPlan, plan_chunks
from src.models.conditioning import Conditioning, Control
from src.models.layout import KeptFeatures
from src.pose.draw import draw_poses
from src.pose.keypoints import PoseSequence
from src.sampling.settings import EXACT, ApproximationSettings


def embed_pose_sequence(backbone: VideoBackbone, poses: PoseSequence, image_size: tuple[int, int]) -> Tensor:
    """Draw poses and embed them, a few at a time: the drawings are never all in memory.

    Args:
        backbone: whose ControlNet embeds.
        poses: F poses.
        image_size: (H, W) of the drawings.

    Returns:
        (1, F, C, h, w) on the backbone's device.
    """
    device = backbone.device
    parts = []
    for start in range(0, len(poses), POSE_IMAGES_AT_ONCE):
        drawn_FHWC = draw_poses(poses[start : start + POSE_IMAGES_AT_ONCE], image_size)
        parts.append(backbone.embed_poses(torch.from_numpy(drawn_FHWC).permute(0, 3, 1, 2).to(device)))
    return torch.cat(parts)[None]


def embed_images(backbone: VideoBackbone, number: int, images: Iterable[np.ndarray]) -> Tensor:
    """Embed the condition images (H, W, 3) uint8 of a ControlNet beside the pose one, one by one.

    Returns:
        (1, F, C, h, w) on the backbone's device.
    """
    device = backbone.device
    tensors = (torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(device) for image in images)
    return torch.cat([backbone.embed_control(number, image) for image in tensors])[None]


class NoisePredictor:
    """Predicts the noise of a clip, guided where there is a text to be guided away from.

    Called once for each timestep, in their order.

    Args:
        backbone: fine-tuned, on its device, in evaluation mode.
        poses_1FChw: of `embed_pose_sequence`.
        text_1TE: the encoded prompt.
        unconditional_1TE: the encoded negative prompt; None: no guidance.
        guidance_scale: s in ε(prompt) + (s − 1) · (ε(prompt) − ε(negative)); 1 needs no negative prompt.
        frame_chunk: `auto`, None or a number, as of `plan_chunks`.
        approximation: what later steps take over from earlier ones.
        conditioning_scale: factor on the ControlNet's residuals; None: the backbone's own.
        controls: of the ControlNets beside the pose one that take part.
    """

    def __init__(
        self,
        backbone: VideoBackbone,
        poses_1FChw: Tensor,
        text_1TE: Tensor,
        *,
        unconditional_1TE: Tensor | None = None,
        guidance_scale: float = 1.0,
        frame_chunk: int | str | None = None,
        approximation: ApproximationSettings = EXACT,
        conditioning_scale: float | None = None,
        controls: Sequence[Control] = (),
    ) -> None:
        if (unconditional_1TE is None) != (guidance_scale == 1):
            raise ValueError(f"guidance_scale={guidance_scale} and a negative prompt go together, 1 with None")
        self.backbone = backbone
        self.guidance_scale = guidance_scale
        device = poses_1FChw.device
        texts = [text for text in (unconditional_1TE, text_1TE) if text is not None]
        conditioning = backbone.condition(poses_1FChw, *(text.to(device) for text in texts), controls=controls)
        self.conditioning: Conditioning = replace(conditioning, scale=conditioning_scale)
        self.plan: ChunkPlan = plan_chunks(
            backbone.unet,
            num_frames=poses_1FChw.shape[1],
            latent_size=(poses_1FChw.shape[-2], poses_1FChw.shape[-1]),
            num_prompts=len(texts),
            frame_chunk=frame_chunk,
            controls=len(controls),
        )
        self.approximation = approximation
        # What is taken over belongs to one prompt.
        together = len(texts) == 1 or (self.plan.join_prompts and approximation.off)
        self._runs = [self.conditioning] if together else [self.conditioning.prompt(i) for i in range(len(texts))]
        self._kept = [KeptFeatures() for _ in self._runs] if approximation.features_every > 1 else None
        # The step of which each run holds features; -1: none yet.
        self._kept_of = [-1] * len(self._runs)
        self._step = 0
        self._difference_1FChw: Tensor | None = None

    @torch.no_grad()
    def __call__(self, latents_1FChw: Tensor, timestep: int) -> Tensor:
        """Predicted noise (1, F, C, h, w) in float32."""
        step, self._step = self._step, self._step + 1
        if len(self._runs) == 1:
            (noise_PFChw,) = self._predict([0], latents_1FChw, timestep, step)
            if len(noise_PFChw) == 1:
                return noise_PFChw
            unconditional_1FChw, noise_1FChw = noise_PFChw.split(1)
            return self._guided(noise_1FChw, noise_1FChw - unconditional_1FChw)
        first, last = self.approximation.guided_timesteps
        if not first <= timestep <= last:
            return self._predict([1], latents_1FChw, timestep, step)[0]
        if self._difference_1FChw is not None and step % self.approximation.guidance_every != 0:
            (noise_1FChw,) = self._predict([1], latents_1FChw, timestep, step)
            difference_1FChw = self._difference_1FChw
        else:
            unconditional_1FChw, noise_1FChw = self._predict([0, 1], latents_1FChw, timestep, step)
            difference_1FChw = noise_1FChw - unconditional_1FChw
            self._difference_1FChw = difference_1FChw if self.approximation.guidance_every > 1 else None
        return self._guided(noise_1FChw, difference_1FChw)

    def _guided(self, noise_1FChw: Tensor, difference_1FChw: Tensor) -> Tensor:
        return noise_1FChw + (self.guidance_scale - 1) * difference_1FChw

    def _predict(self, runs: Sequence[int], latents_1FChw: Tensor, timestep: int, step: int) -> list[Tensor]:
        """Noise of some of the runs; what they have in common is computed once."""
        kept = None if self._kept is None else [self._kept[run] for run in runs]
        if kept is not None:
            # Guidance enlarges a difference: it must be one of prompts, not of steps.
            of = {self._kept_of[run] for run in runs}
            reuse = step % self.approximation.features_every != 0 and len(of) == 1 and -1 not in of
            for run, features in zip(runs, kept, strict=True):
                features.reuse = reuse
                self._kept_of[run] = self._kept_of[run] if reuse else step
        conditionings = [self._runs[run] for run in runs]
        with self._chunked():
            noise = self.backbone.in_turn(latents_1FChw, timestep, conditionings, kept)
        return [noise_PFChw.float() for noise_PFChw in noise]

    def _chunked(self) -> contextlib.AbstractContextManager[None]:
        return self.backbone.chunked(self.plan.frame_chunk, tile_elements=self.plan.tile_elements)
