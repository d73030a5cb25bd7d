"""The miniature VAE: an AutoencoderDC that begins as principal components of patches and dwells on faces and hands.

Dimensions: B frames, C channels, H×W pixels, h×w latent cells, K keypoints, S side of a crop in pixels.
"""

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

from src.miniature.common import LARGEST_FILE, PoolModule, psnr
from src.miniature.components import keep_constant, start_from_components
from src.miniature.details import detail_rectangles
from src.miniature.pools import PeoplePool
from src.miniature.warm_start import warm_start
from src.pose.keypoints import DETAILS, NUM_KEYPOINTS, PARTS

SCALE_FRAMES = 256  # of the held-out ones, from which the latents' scale is taken


class VaeModule(PoolModule):
    """Reconstruction of crops, with noise on the latents.

    The loss is L1 of the pixels, L1 of their horizontal and vertical differences (edges are what makes a drawing
    crisp), where wanted their squared error, and a pull of every latent channel towards mean 0 and the variance that
    its component began with.
    Noise on the latents keeps the encoder from hiding detail in amplitudes that diffusion cannot reproduce.

    Args:
        vae: untrained, of the structure that `start_from_components` needs.
        crop: S; the networks are convolutional and are used at any size.
        detail_fraction: share of the crops that is centred on a keypoint of a face or a hand.
        edge_weight: of the differences in the loss.
        squared_weight: of the squared error, which is what PSNR is made of: a few large errors count more.
        moment_weight: of the pull on mean and variance.
        latent_noise: standard deviation of the noise, in units of the latents.
        variance_power: 0 gives all latent channels the same variance, 1 the variances of the components.
        start_crops: how many crops the components are taken from.
        start_from: folder of an earlier VAE of the same structure, to go on from; None: the components.
        train_encoder: False leaves the latents as they are, so that a base that was trained on them stays right.
        settings: see `StepSettings`.
    """

    variances_C: Tensor

    def __init__(
        self,
        train: PeoplePool,
        heldout: PeoplePool,
        *,
        vae: AutoencoderDC,
        crop: int,
        detail_fraction: float,
        edge_weight: float,
        squared_weight: float,
        moment_weight: float,
        latent_noise: float,
        variance_power: float,
        start_crops: int,
        start_from: str | None,
        train_encoder: bool,
        settings: dict,
    ) -> None:
        super().__init__(train, heldout, settings)
        # Channels last: the small convolutions at full size run a third faster on a CPU.
        cast(nn.Module, vae).to(memory_format=torch.channels_last)
        self.vae = vae
        self.crop, self.detail_fraction = crop, detail_fraction
        self.edge_weight, self.moment_weight, self.latent_noise = edge_weight, moment_weight, latent_noise
        self.squared_weight = squared_weight
        generator = torch.Generator().manual_seed(self.steps.seed)
        crops = self.crops(np.random.default_rng(self.steps.seed).integers(0, len(train), start_crops), generator)
        variances_C = start_from_components(self.vae, crops * 2 - 1, power=variance_power)
        self.register_buffer("variances_C", variances_C)
        keep_constant(self.vae)
        self.train_encoder = train_encoder
        self.vae.encoder.requires_grad_(train_encoder)
        if start_from is not None:
            warm_start(self.vae, Path(start_from))
            saved = cast("dict[str, Any]", self.vae.load_config(start_from))
            self.vae.register_to_config(scaling_factor=saved["scaling_factor"])

    def training_step(self, index_B: Tensor, batch_idx: int) -> Tensor:
        generator = self.generator()
        images = self.crops(index_B.numpy(), generator)
        latents = self.vae.encoder(images * 2 - 1)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        rebuilt = self.vae.decoder(latents + self.latent_noise * noise).float() / 2 + 0.5
        latents = latents.float()
        pixels = (rebuilt - images).abs().mean()
        edges = sum((rebuilt.diff(dim=dim) - images.diff(dim=dim)).abs().mean() for dim in (2, 3))
        variance, mean = torch.var_mean(latents, dim=(0, 2, 3))
        moments = mean.square().mean() + (variance.clamp_min(1e-6) / self.variances_C).log().square().mean()
        error = (rebuilt - images).square().mean()
        loss = pixels + self.edge_weight * edges + self.moment_weight * moments + self.squared_weight * error
        self.log_dict({"loss": loss, "moments": moments, "psnr": psnr(error.detach())}, prog_bar=True)
        return loss

    def crops(self, index_B: np.ndarray, generator: torch.Generator) -> Tensor:
        """Crops (B, C, S, S) of training frames, in [0, 1]."""
        pool = self.pools["train"]
        frames_BHWC = pool.gather("frames", index_B)
        side = frames_BHWC.shape[1]
        draws_B4 = torch.rand(len(index_B), 4, generator=generator).numpy()
        corners = (draws_B4[:, :2] * (side - self.crop + 1)).astype(int)
        details = np.concatenate([np.arange(NUM_KEYPOINTS)[PARTS[name]] for name in DETAILS])
        for row, index in enumerate(index_B):
            seen = details[pool.mask[index, details]]
            if draws_B4[row, 2] < self.detail_fraction and len(seen):
                centre = pool.xy[index, seen[int(draws_B4[row, 3] * len(seen))]] * side
                # Anywhere in the middle half of the crop, so that no place within it is special.
                corners[row] = centre - self.crop * (0.25 + 0.5 * draws_B4[row, :2])
        corners = corners.clip(0, side - self.crop)
        crops = np.stack(
            [frame[y : y + self.crop, x : x + self.crop] for frame, (x, y) in zip(frames_BHWC, corners, strict=True)]
        )
        return torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255

    def validation_step(self, index_B: Tensor, batch_idx: int) -> None:
        images = self.images("heldout", "frames", index_B.numpy())
        latents = self.vae.encoder(images * 2 - 1)
        rebuilt = self.vae.decoder(latents).float().div(2).add(0.5).clamp(0, 1)
        # What an 8-bit picture keeps.
        errors = ((rebuilt * 255).round() / 255 - images).square().mean(1)
        figures = {"heldout_psnr": psnr(errors.mean((1, 2))).mean()}
        for name in DETAILS:
            rectangle = self.part_rectangles(index_B.numpy(), name, images.shape[-1])
            values = [
                psnr(e[y0:y1, x0:x1].mean()) for e, (x0, y0, x1, y1) in zip(errors, rectangle, strict=True) if x1 > x0
            ]
            if values:
                figures[f"heldout_psnr_{name}"] = torch.stack(values).mean()
        figures["latent_std"] = latents.float().std()
        figures["latent_mean_largest"] = latents.float().mean((0, 2, 3)).abs().max()
        self.log_dict(figures, batch_size=len(index_B), sync_dist=True)

    def part_rectangles(self, index_B: np.ndarray, part: str, side: int) -> np.ndarray:
        """Bounding rectangles (B, 4) of a part's seen keypoints as x0, y0, x1, y1 in pixels; zeros where none is."""
        pool = self.pools["heldout"]
        rectangles_B4 = detail_rectangles(pool.xy[index_B], pool.mask[index_B], part) * side
        outer_B4 = np.concatenate([np.floor(rectangles_B4[:, :2]), np.ceil(rectangles_B4[:, 2:] + 1)], 1)
        return np.where(rectangles_B4.any(1, keepdims=True), outer_B4, 0).astype(int).clip(0, side)

    def export(self, folder: Path) -> None:
        if self.train_encoder:
            self.measure_scale()
        copy.deepcopy(self.vae).half().save_pretrained(folder / "mini" / "vae", max_shard_size=LARGEST_FILE)

    @torch.no_grad()
    def measure_scale(self) -> None:
        """Set the config's `scaling_factor` so that the latents of the first held-out frames have unit variance."""
        images = self.images("heldout", "frames", np.arange(min(SCALE_FRAMES, len(self.pools["heldout"]))))
        scale = 1 / float(self.vae.encoder(images * 2 - 1).std())
        self.vae.register_to_config(scaling_factor=scale)
