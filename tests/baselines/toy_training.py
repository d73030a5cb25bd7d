"""MagicAnimate and DisCo on the miniature model, trained from pictures of rendered people: does the route learn at all?

Both begin as `model=mini`, which knows people and poses, but has never been given a picture of one.

Dimensions: B clips, F frames, C latent channels, h×w latent cells, T tokens, E context channels; images are RGB.
"""

import copy
import logging
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNetMotionModel
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from src.baselines.disco import sampling as disco_sampling
from src.baselines.disco.fine_tune import FineTuneBatch, fine_tune_loss, trained_parameters
from src.baselines.disco.preprocessing import Square, background_image, foreground_image, signed_image, unit_image
from src.baselines.magicanimate import sampling as magicanimate_sampling
from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.motion import build_video_unet, motion_config, motion_parameters
from src.baselines.magicanimate.reference_attention import AppearanceEncoder
from src.baselines.magicanimate.settings import NetworkSettings, SamplingSettings
from src.common.paths import PACKAGE_ROOT
from src.models.image_model import ImageModel, mode_of, to_unit_range
from tests.baselines.initial import initial_disco
from tests.baselines.rendered import People
from tests.models.loaded import loaded_model

log = logging.getLogger(__name__)
WEIGHTS = PACKAGE_ROOT / "src/models/weights"
NUM_TIMESTEPS = 1000
_TOLD = 20  # steps between two lines in the log
_TIMES = 3  # that the held-out people are gone through, at other timesteps


def miniature() -> ImageModel:
    return loaded_model(str(WEIGHTS / "mini"), configs="tiny")


class PlainVae(nn.Module):
    """The miniature's VAE, which has no posterior, with the interface that DisCo asks of one that has."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.config = {**vae.config, "block_out_channels": vae.config["encoder_block_out_channels"]}

    @property
    def device(self) -> torch.device:
        return self.vae.device

    @property
    def dtype(self) -> torch.dtype:
        return self.vae.dtype

    def encode(self, images: Tensor, *, return_dict: bool) -> tuple[SimpleNamespace]:
        mean = mode_of(self.vae.encode(images))
        return (SimpleNamespace(mean=mean, std=torch.zeros_like(mean)),)

    def decode(self, latents: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        return self.vae.decode(latents, return_dict=False)


class Toy(ABC):
    """A system that learns to film people from one picture."""

    trained: list[nn.Parameter]

    @abstractmethod
    def loss(self, people: People, chosen: np.ndarray, generator: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise for all frames of some people."""

    @abstractmethod
    def film(self, people: People, chosen: np.ndarray, *, num_steps: int, seed: int) -> np.ndarray:
        """(B, F, S, S, 3) uint8: some people, each from their picture, in the poses."""


class ToyDisCo(Toy):
    """The miniature's UNet and pose ControlNet, a background ControlNet that begins as a copy of the UNet, and the
    tokens of the miniature's CLIP; all of it is trained as in DisCo's general fine-tuning."""

    def __init__(self) -> None:
        mini = miniature()
        clip = CLIPVisionModelWithProjection.from_pretrained(
            WEIGHTS / "mini-clip",
            projection_dim=mini.unet.config["cross_attention_dim"],
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
        embedding = tuple(mini.controlnet.config["conditioning_embedding_out_channels"])
        self.model = initial_disco(mini.unet, clip, PlainVae(mini.vae), pose_embedding=embedding)
        self.model.controlnet.nets[0].load_state_dict(mini.controlnet.state_dict())
        self.scheduler = disco_sampling.make_scheduler(dict(mini.scheduler.config))
        self.trained = list(trained_parameters(self.model, "general").values())

    def loss(self, people: People, chosen: np.ndarray, generator: torch.Generator) -> Tensor:
        rows = [self._row(people, person, frame) for person in chosen for frame in range(people.frames.shape[1])]
        batch = FineTuneBatch(*(torch.stack(images) for images in zip(*rows, strict=True)))
        return fine_tune_loss(self.model, self.scheduler, batch, generator=generator)

    @torch.no_grad()
    def film(self, people: People, chosen: np.ndarray, *, num_steps: int, seed: int) -> np.ndarray:
        num_frames, size = people.frames.shape[1:3]
        rows = [self._row(people, person, frame) for person in chosen for frame in range(num_frames)]
        _, pose, foreground, background = (torch.stack(images) for images in zip(*rows, strict=True))
        context = self.model.context(foreground)
        latents = self.model.encode(background, generator=None)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
        job = disco_sampling.LatentJob(noise, latents, pose, context, context)
        clean = disco_sampling.sample_latents(self.model, job, self.scheduler, num_steps=num_steps, scale=1.0)
        frames = (self.model.decode(clean) * 255).round().byte().permute(0, 2, 3, 1)
        return frames.numpy().reshape(len(chosen), num_frames, size, size, 3)

    def _row(self, people: People, person: int, frame: int) -> tuple[Tensor, ...]:
        reference, mask = people.references[person], people.masks[person]
        size = len(mask)
        square = Square(0, 0, size)
        return (
            signed_image(people.frames[person, frame], square, size),
            unit_image(people.drawings[person, frame], square, size),
            foreground_image(reference, mask, square, self.model.foreground_size),
            background_image(reference, mask, square, size),
        )


class ToyMagicAnimate(Toy):
    """The miniature's UNet, frozen; an appearance encoder that begins as its copy, the miniature's ControlNet, which
    has to learn DensePose, and motion modules that add nothing at first, all three trained.

    The noise levels are those that the frozen UNet knows, `scaled_linear`.
    """

    def __init__(self) -> None:
        self.mini = mini = miniature()
        encoder = AppearanceEncoder(copy.deepcopy(mini.unet))
        fresh = UNetMotionModel(**motion_config(mini.unet, max_positions=24))
        motion = {name: t for name, t in fresh.state_dict().items() if ".motion_modules." in name}
        motion |= {name: torch.zeros_like(t) for name, t in motion.items() if ".proj_out." in name}
        video_unet = build_video_unet(mini.unet, {}, motion, what="the miniature", max_positions=24)
        self.model = MagicAnimate(video_unet, encoder, mini.controlnet, settings=NetworkSettings())
        self.trained = [*motion_parameters(video_unet), *encoder.parameters(), *mini.controlnet.parameters()]
        self.scheduler = magicanimate_sampling.make_scheduler(SamplingSettings(beta_schedule="scaled_linear"))
        self.text_1TE = mini.encode_prompt("")

    def loss(self, people: People, chosen: np.ndarray, generator: torch.Generator) -> Tensor:
        clean = self._clips(people, chosen)
        timestep = int(torch.randint(NUM_TIMESTEPS, (), generator=generator))
        noise = torch.randn(clean.shape, generator=generator)
        return F.mse_loss(self._predict(people, chosen, self._noisy(clean, noise, timestep), timestep), noise)

    @torch.no_grad()
    def film(self, people: People, chosen: np.ndarray, *, num_steps: int, seed: int) -> np.ndarray:
        num_frames, size = people.frames.shape[1:3]
        settings = SamplingSettings(num_steps=num_steps, guidance_scale=1.5, beta_schedule="scaled_linear")
        reference = self.mini.encode_frames(people.references[chosen])
        noise = torch.randn((*reference.shape[:2], num_frames, *reference.shape[2:]), generator=_seeded(seed))
        text = self.text_1TE.expand(len(chosen), -1, -1)
        job = magicanimate_sampling.LatentJob(noise, reference, self._conditions(people, chosen), text, text)
        clean = magicanimate_sampling.sample_latents(self.model, job, settings)
        return self.mini.decode_latents(clean.transpose(1, 2).flatten(0, 1)).reshape(-1, num_frames, size, size, 3)

    def _noisy(self, clean: Tensor, noise: Tensor, timestep: int) -> Tensor:
        return DDIMScheduler.add_noise(self.scheduler, clean, noise, torch.tensor([timestep] * len(clean)))

    def _clips(self, people: People, chosen: np.ndarray) -> Tensor:
        frames = people.frames[chosen]
        latents = self.mini.encode_frames(frames.reshape(-1, *frames.shape[2:]), chunk=16)
        return latents.unflatten(0, frames.shape[:2]).transpose(1, 2)

    def _conditions(self, people: People, chosen: np.ndarray) -> Tensor:
        conditions = people.conditions[chosen]
        return to_unit_range(conditions.reshape(-1, *conditions.shape[2:])).unflatten(0, conditions.shape[:2])

    def _predict(self, people: People, chosen: np.ndarray, noisy: Tensor, timestep: int) -> Tensor:
        text = self.text_1TE.expand(len(chosen), -1, -1)
        bank = self.model.write_bank(self.mini.encode_frames(people.references[chosen]), timestep, text)
        residuals = self.model.control(noisy, timestep, self._conditions(people, chosen), text)
        return self.model(noisy, timestep, text, bank=bank, residuals=residuals)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TOYS: dict[str, type[Toy]] = {"disco": ToyDisCo, "magicanimate": ToyMagicAnimate}


def train(toy: Toy, people: People, *, num_steps: int, batch: int, learning_rate: float, seed: int) -> list[float]:
    """AdamW, the rate up over a tenth of the steps and then down to zero; returns the loss of every step."""
    for parameter in toy.trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(toy.trained, lr=learning_rate, betas=(0.9, 0.98), weight_decay=1e-3)
    warm = max(1, num_steps // 10)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (num_steps - step) / max(1, num_steps - warm))
    )
    generator, losses = _seeded(seed), []
    for step in range(num_steps):
        chosen = torch.randperm(len(people), generator=generator)[:batch].numpy()
        loss = toy.loss(people, chosen, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(toy.trained, 1.0)
        optimizer.step()
        rate.step()
        losses.append(float(loss.detach()))
        if (step + 1) % _TOLD == 0:
            log.info("step %d of %d: loss %.4f", step + 1, num_steps, np.mean(losses[-_TOLD:]))
    return losses


@torch.no_grad()
def held_out_loss(toy: Toy, people: People, *, batch: int, seed: int) -> float:
    """The loss on people, always of the same noise and timesteps."""
    generator, everyone = _seeded(seed), np.arange(len(people))
    parts = [part for _ in range(_TIMES) for part in np.array_split(everyone, max(1, len(people) // batch))]
    return float(torch.stack([toy.loss(people, part, generator) for part in parts]).mean())
