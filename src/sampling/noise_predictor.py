"""ε_θ with classifier-free guidance for a clip of poses: what does not depend on the timestep is computed once.

Dimensions: F frames, C channels, H×W pixels, h×w latent cells, T text tokens, E text channels.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from src.models.backbone import POSE_IMAGES_AT_ONCE, VideoBackbone
from src.models.chunking import ChunkPlan, plan_chunks
from src.models.conditioning import Conditioning
from src.pose.draw import draw_poses
from src.pose.keypoints import PoseSequence


def embed_pose_sequence(backbone: VideoBackbone, poses: PoseSequence, image_size: tuple[int, int]) -> Tensor:
    """Draw poses and embed them, a few at a time: the drawings are never all in memory.

    Args:
        backbone: whose ControlNet embeds.
        poses: F poses.
        image_size: (H, W) of the drawings.

    Returns:
        (1, F, C, h, w) on the backbone's device.
    """
    device = backbone.unet.conv_in.weight.device
    parts = []
    for start in range(0, len(poses), POSE_IMAGES_AT_ONCE):
        drawn_FHWC = draw_poses(poses[start : start + POSE_IMAGES_AT_ONCE], image_size)
        parts.append(backbone.embed_poses(torch.from_numpy(drawn_FHWC).permute(0, 3, 1, 2).to(device)))
    return torch.cat(parts)[None]


class NoisePredictor:
    """Predicts the noise of a clip, guided where there is a text to be guided away from.

    Args:
        backbone: fine-tuned, on its device, in evaluation mode.
        poses_1FChw: of `embed_pose_sequence`.
        text_1TE: the encoded prompt.
        unconditional_1TE: the encoded negative prompt; None: no guidance.
        guidance_scale: s in ε(negative) + s · (ε(prompt) − ε(negative)); 1 needs no negative prompt.
        frame_chunk: `auto`, None or a number, as of `plan_chunks`.
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
    ) -> None:
        if (unconditional_1TE is None) != (guidance_scale == 1):
            raise ValueError(f"guidance_scale={guidance_scale} and a negative prompt go together, 1 with None")
        self.backbone = backbone
        self.guidance_scale = guidance_scale
        device = poses_1FChw.device
        texts = [text for text in (unconditional_1TE, text_1TE) if text is not None]
        self.conditioning: Conditioning = backbone.condition(poses_1FChw, *(text.to(device) for text in texts))
        self.plan: ChunkPlan = plan_chunks(
            backbone.unet,
            backbone.controlnet,
            num_frames=poses_1FChw.shape[1],
            latent_size=tuple(poses_1FChw.shape[-2:]),
            num_prompts=len(texts),
            frame_chunk=frame_chunk,
        )
        together = len(texts) == 1 or self.plan.join_prompts
        self._runs = [self.conditioning] if together else [self.conditioning.prompt(i) for i in range(len(texts))]

    @torch.no_grad()
    def __call__(self, latents_1FChw: Tensor, timestep: int) -> Tensor:
        """Predicted noise (1, F, C, h, w) in float32."""
        return self.guide(self.branches(latents_1FChw, timestep))

    @torch.no_grad()
    def branches(self, latents_1FChw: Tensor, timestep: int) -> Tensor:
        """Noise of each prompt (P, F, C, h, w), the negative one first, in float32."""
        with self.chunked():
            noise = [self.backbone(latents_1FChw, timestep, conditioning) for conditioning in self._runs]
        return (noise[0] if len(noise) == 1 else torch.cat(noise)).float()

    def guide(self, noise_PFChw: Tensor) -> Tensor:
        """Classifier-free guidance of the branches."""
        if len(noise_PFChw) == 1:
            return noise_PFChw
        unconditional, conditional = noise_PFChw[:1], noise_PFChw[1:]
        return unconditional + self.guidance_scale * (conditional - unconditional)

    @contextlib.contextmanager
    def chunked(self) -> Iterator[None]:
        """Run the backbone as the plan says."""
        with self.backbone.chunked(self.plan.frame_chunk, tile_elements=self.plan.tile_elements):
            yield
